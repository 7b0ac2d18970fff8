# docker build -t endorender . && docker run --rm -v "$PWD:/work" endorender render --ct sample --out frames
# For a card: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128, and docker run --gpus all ... --device cuda
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/endorender
COPY . .
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt '.[train,denoise,dicom,formats,onnx,video]'
WORKDIR /work
ENTRYPOINT ["endorender"]
CMD ["--help"]
