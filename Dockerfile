# One image per algorithm, from one file:
#     docker build --build-arg ALGORITHM=kmeans -t kmeans .
# `make image ALGORITHM=kmeans` does the same, and without a Docker engine too.
# BASE_IMAGE is any Debian whose python3 is 3.11. The digest is that of Docker's official image for all platforms, so that
# builds are on the same base; `make base` takes today's. DEVICE=gpu takes the builds for NVIDIA's GPUs, of gigabytes.
# PURPOSE=serve leaves out what only training needs.
ARG BASE_IMAGE=debian:bookworm-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251

FROM ${BASE_IMAGE} AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && find /usr/share/doc -type f ! -name copyright -delete \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /usr/share/man/*

# What builds the environment and does not get into the image: pip, the compiler of the optional C kernels.
FROM python AS build
RUN dpkg-query --show > /opt/debian-packages \
 && apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv python3-dev gcc libc6-dev
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
WORKDIR /source
COPY locks/ locks/
ARG DEVICE=cpu
ARG PURPOSE=all
# The secrets are for machines that reach the package index through a mirror: docker build --secret id=pip.conf,src=…
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    /opt/pip/bin/pip install --no-cache-dir --require-hashes --requirement locks/build.lock --requirement locks/sbom.lock \
 && if [ "${DEVICE} ${PURPOSE}" = "cpu all" ]; then \
        /opt/pip/bin/pip --python /opt/venv install --no-compile --no-cache-dir --require-hashes \
            --requirement locks/core.lock; fi
COPY images/ images/
COPY recordio/ recordio/
COPY algorithms/ algorithms/
ARG ALGORITHM
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    lock=$(/opt/venv/bin/python -B images/requirements.py "${ALGORITHM}" "${DEVICE}" "${PURPOSE}") \
 && /opt/pip/bin/pip --python /opt/venv install --no-compile --no-cache-dir --require-hashes --requirement "$lock"
COPY pyproject.toml README.md LICENSE ./
COPY container/ container/
# This project's own code goes to a folder, and so to a layer, of its own: a new version of it is small to send.
RUN /opt/pip/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/pip/bin/pip --python /opt/venv install --no-compile --no-cache-dir --no-index --no-deps --prefix /opt/own \
        /wheels/*.whl \
 && python3 images/layers.py join /opt/venv /opt/own \
 && /opt/pip/bin/python images/sbom.py /opt/venv /opt/debian-packages > /opt/own/sbom.cdx.json \
 && python3 images/leave_out.py /opt/venv /opt/own "${ALGORITHM}" "${PURPOSE}" \
 && python3 images/layers.py settle /opt/venv /opt/own

FROM python
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/own /opt/own
ARG ALGORITHM
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
# Bytecode comes with the packages, so nothing is written next to them at run time.
ENV ALGORITHM=${ALGORITHM} \
    PATH=/opt/own/bin:/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
      com.amazonaws.sagemaker.capabilities.multi-models=true \
      org.opencontainers.image.title="open ${ALGORITHM}" \
      org.opencontainers.image.description="Drop-in replacement for Amazon SageMaker's built-in algorithm: ${ALGORITHM}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses=Apache-2.0
EXPOSE 8080
# A container that serves is healthy when /ping says so, one that trains while it runs.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-m", "container.health"]
# No entry point: SageMaker starts the image with `train` or `serve`, and its SDK 3 with nothing, which means to train.
# The user stays root, because SageMaker mounts /opt/ml as root; any other user who may write there will do.
CMD ["train"]
