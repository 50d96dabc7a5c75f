# The official OpenSearch image less ML Commons and whatever is built on it: for everyone who can pull images.
ARG BASE_IMAGE=opensearchproject/opensearch:3.6.0
FROM ${BASE_IMAGE}
# A plugin whose parent is missing stops the node, so those that extend a removed one go with it.
RUN bash -euc ' \
  drop() { \
    local file; \
    for file in $(grep -lE "^extended\.plugins=(.*,)?$1(,|;|$)" plugins/*/plugin-descriptor.properties || true); do \
      drop "$(basename "$(dirname "$file")")"; \
    done; \
    rm -rf "plugins/$1"; \
  }; \
  drop opensearch-ml; drop opensearch-neural-search; ls plugins'
