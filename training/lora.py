"""Low-rank adapters (Hu 2022) on every linear layer and convolution, by peft; and weights without them."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from training.files import missing_extra
from training.lora_config import Lora
from training.models.layers import DepthNetwork, freeze


def add_adapters(network: DepthNetwork, lora: Lora) -> list[str]:
    """Puts adapters into the network; they and the last layer are trained. Returns the frozen parameters.

    At first an adapter adds nothing: the network predicts what it predicted before. Grouped convolutions
    have no adapter. Random numbers come from torch's current generator.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing_extra(error) from None

    freeze(network, "last-layer")
    last = {id(module) for module in network.last_layer().modules()}
    names = [
        name
        for name, module in network.named_modules()
        if id(module) not in last
        and (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1))
    ]
    wanted = "|".join(re.escape(name) for name in names)  # whole names: peft would match a list by their ends
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=f"({wanted})", lora_dropout=0.0)  # type: ignore[arg-type]
    inject_adapter_in_model(config, network)
    for parameter in network.last_layer().parameters():  # peft froze it
        parameter.requires_grad_(True)
    return [name for name, parameter in network.named_parameters() if not parameter.requires_grad]


@torch.no_grad()
def merged(network: nn.Module) -> dict[str, Tensor]:
    """The state of the network with every adapter added to what it adapts: that of a network without adapters."""
    deltas = {
        name: module.get_delta_weight("default")
        for name, module in network.named_modules()
        if hasattr(module, "base_layer")
    }
    found = {}
    for name, value in network.state_dict().items():
        owner, _, rest = name.partition(".base_layer.")
        if rest:
            found[f"{owner}.{rest}"] = value + deltas[owner] if rest == "weight" else value
        elif ".lora_" not in name:
            found[name] = value
    return found
