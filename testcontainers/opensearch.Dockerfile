# OpenSearch with k-NN and without ML Commons: what the bridge is put in front of.
# Its context (the unpacked distribution and a JDK) is laid out by
#   python testcontainers/local_cluster.py context --dir FOLDER
# Where images can be pulled, opensearch.official.Dockerfile does the same from the official image.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN useradd --system --uid 1000 --create-home opensearch
COPY jdk /opt/jdk
COPY --chown=opensearch:opensearch opensearch /usr/share/opensearch
ENV OPENSEARCH_JAVA_HOME=/opt/jdk
WORKDIR /usr/share/opensearch
RUN mkdir -p data logs && chown opensearch:opensearch . data logs
USER opensearch
EXPOSE 9200
# bash opens the port itself: the base image has no curl.
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=10 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9200 && printf 'GET /_cluster/health HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q -E '\"status\":\"(green|yellow)\"' <&3"]
CMD ["bin/opensearch", "-Enetwork.host=0.0.0.0", "-Ediscovery.type=single-node", "-Ecluster.routing.allocation.disk.threshold_enabled=false"]
