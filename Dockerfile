# The bridge: small, not root.
#
#   docker build -t opensearch-ml-bridge/bridge .                                    ONNX models (onnxruntime)
#   docker build -t opensearch-ml-bridge/bridge:torch --build-arg EXTRAS=torch .     TorchScript too (several GB: CUDA)
#
# Behind a company proxy or with a package index of your own (BuildKit):
#   docker build --secret id=pip_ca,src=/etc/ssl/certs/ca-certificates.crt --secret id=pip_conf,src=$HOME/.config/pip/pip.conf .
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_CACHE_DIR=/var/cache/pip
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates >/dev/null \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/bridge
WORKDIR /src
COPY requirements.lock requirements-test.lock ./
# The third-party part first, by itself: it changes less often than the bridge.
RUN --mount=type=secret,id=pip_ca --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    if [ -f /run/secrets/pip_ca ]; then export PIP_CERT=/run/secrets/pip_ca; fi; \
    if [ -f /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi; \
    /opt/bridge/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY bridge bridge
COPY index_templates index_templates
ARG EXTRAS=""
RUN --mount=type=secret,id=pip_ca --mount=type=secret,id=pip_conf --mount=type=cache,target=/var/cache/pip \
    if [ -f /run/secrets/pip_ca ]; then export PIP_CERT=/run/secrets/pip_ca; fi; \
    if [ -f /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi; \
    /opt/bridge/bin/pip install --quiet --disable-pip-version-check -c requirements-test.lock ".${EXTRAS:+[$EXTRAS]}" \
 && /opt/bridge/bin/bridge --help >/dev/null \
 && /opt/bridge/bin/python -m pip uninstall --quiet --yes setuptools pip

FROM ${BASE_IMAGE}
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3 ca-certificates >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /var/lib/bridge bridge
COPY --from=build /opt/bridge /opt/bridge
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BRIDGE_LISTEN=0.0.0.0:9700 \
    BRIDGE_DATA_DIR=/var/lib/bridge/data
USER bridge
WORKDIR /var/lib/bridge
RUN mkdir data
VOLUME /var/lib/bridge/data
EXPOSE 9700
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9700/_bridge/health', timeout=4)"]
# SIGTERM drains; give it `grace` seconds (30) and a few more.
STOPSIGNAL SIGTERM
ENTRYPOINT ["bridge"]
CMD ["serve"]
