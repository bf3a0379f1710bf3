# The page alone: no training, no tests. CPU_INDEX is the address of the CPU index that PyTorch's install page names;
# without it pip brings gigabytes of CUDA libraries, which the page does not use.
#
#   docker build -t ser_hf --build-arg PIP_EXTRA_INDEX_URL="$CPU_INDEX" .
#   docker run --rm -p 127.0.0.1:7860:7860 --memory 2g --cpus 2 ser_hf
FROM python:3.11-slim-bookworm

WORKDIR /srv

# The code stays root's. Who serves the page may write to two folders: /cache, for models of the Hub and compiled code,
# which are worth keeping in a volume, and /tmp, for uploaded voices, which are not: they end with the container.
RUN useradd --uid 1000 --create-home --home-dir /cache page

# Where pip looks, which it takes from its environment; empty ones count for nothing.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Before the code, so that a change of the code installs nothing anew.
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore -r requirements.txt

# The page and the health check ask 127.0.0.1 whether it is up, which a proxy that the container is given cannot know.
ENV HOME=/cache \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib \
    NUMBA_CACHE_DIR=/cache/numba \
    GRADIO_TEMP_DIR=/tmp/voices \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    MALLOC_ARENA_MAX=2 \
    no_proxy=localhost,127.0.0.1

COPY LICENSE NOTICE ./
COPY models models
COPY ser_hf ser_hf
COPY app app

# By its number, so that a host that refuses root can tell.
USER 1000
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s CMD \
    ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'])"]
CMD ["python", "-m", "app.app"]
