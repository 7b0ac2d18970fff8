"""Weights in the format of transformers, from local folders, put where they belong."""

import pytest
import torch

from endorender.errors import UserError
from training.models import models
from training.models.pretrained import configuration

TAKEN = [name for name in models if hasattr(models[name], "pretrained")]


def whole(name):
    """(transformers' model of our small configuration, its configuration) of a registered network."""
    import transformers

    from training.models import depth_anything, dpt, encoders

    torch.manual_seed(1)
    if name == "dpt":
        config = configuration("DPTConfig", dpt.SMALL, {})
        return transformers.DPTForDepthEstimation(config), config
    if name == "depth_anything":
        config = configuration("DepthAnythingConfig", depth_anything.SMALL, {})
        return transformers.DepthAnythingForDepthEstimation(config), config
    if name == "resnet":
        config = configuration("ResNetConfig", encoders.ResNet.DEFAULT, {})
        return transformers.ResNetForImageClassification(config), config
    config = configuration("ConvNextV2Config", encoders.ConvNeXtV2.DEFAULT, {})
    return transformers.ConvNextV2ForImageClassification(config), config


def saved(folder, name):
    """As users have it: transformers' own way to save, whose names in the file need not be those in memory."""
    model, _ = whole(name)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("name", TAKEN)
def test_weights_of_a_folder_give_the_features_that_transformers_gives(tmp_path, name):
    theirs = saved(tmp_path / "folder", name)
    model = models.build(name).pretrained(tmp_path / "folder")
    ours = model.network(tmp_path / "folder").eval()
    image = torch.rand(1, 3, 126, 126) if name == "depth_anything" else torch.rand(1, 3, 128, 128)
    x = ours.padded(image)
    with torch.no_grad():
        if name in ("resnet", "convnextv2"):
            expected = getattr(theirs, name)(x).last_hidden_state
            found = ours.encoder(x)[-1]
            if name == "convnextv2":  # the backbone normalises its maps once more
                found, expected = ours.encoder.backbone.encoder(ours.encoder.backbone.embeddings(x))[0], expected
        else:
            layer = theirs.head.head[4] if name == "dpt" else theirs.head.conv3
            seen = []
            layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
            theirs(x)
            found, expected = ours.decoder(ours.encoder(x), x), seen[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    again = models.build(models.dump(model)).network()  # what run.json holds is enough to build it
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in ours.state_dict().items()}


def test_other_weights_unknown_keys_and_missing_files_are_refused_in_a_line(tmp_path):
    saved(tmp_path / "folder", "dpt")
    with pytest.raises(UserError, match="another architecture") as refusal:
        models.build("resnet").pretrained(tmp_path / "folder")
    assert refusal.value.code == "ARCHITECTURE"
    with pytest.raises(UserError, match=r"config\.json"):
        models.build("dpt").pretrained(tmp_path)
    with pytest.raises(UserError, match="has no hiden_size"):
        models.build({"type": "dpt", "config": {"hiden_size": 3}}).network()
    with pytest.raises(UserError, match="another architecture"):
        models.build({"type": "dpt", "config": {"num_hidden_layers": 5}}).network(tmp_path / "folder")
    (tmp_path / "folder/model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="cut short") as refusal:
        models.build("dpt").network(tmp_path / "folder")
    assert refusal.value.code == "TRUNCATED"
