# The image is one pod. `docker build --target test .` makes another one that runs the unit tests on the same Python.
FROM python:3.13-slim AS base
ENV PATH=/opt/peerflow/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

FROM base AS dependencies
# Where packages come from, for machines that do not use pip's own default. Proxies need no line: HTTPS_PROXY is an argument of every build.
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/peerflow
# Only the locks, so that this layer stays as it is while the code changes.
COPY requirements requirements
# `--build-arg EXTRA=otel` adds what PEERFLOW_TRACES needs.
ARG EXTRA=runtime
RUN python -m pip install --require-hashes -r requirements/${EXTRA}.txt

FROM dependencies AS package
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY storage storage
COPY scheduler scheduler
COPY peerflow peerflow
# The build tool gets a venv of its own, which stays behind with this stage, as pip does.
RUN python -m venv /opt/builder \
 && /opt/builder/bin/python -m pip install --require-hashes -r requirements/build.txt \
 && /opt/builder/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && python -m pip install --no-deps --no-index /dist/*.whl \
 && python -m pip uninstall --yes pip \
 && python -m compileall -q /opt/peerflow/lib

FROM dependencies AS test
RUN useradd --uid 10001 --create-home peerflow \
 && python -m pip install --require-hashes -r requirements/dev.txt
COPY . .
RUN python -m pip install --no-deps --no-build-isolation --editable .
USER 10001
# Nothing is written beside the sources, which are not this user's.
ENV HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
ENTRYPOINT ["python", "-m", "pytest", "-p", "no:cacheprovider"]
CMD ["tests/unit"]

FROM base AS pod
RUN useradd --uid 10001 --create-home peerflow
COPY --from=package /opt/peerflow /opt/peerflow
# Modules that PEERFLOW_TASKS names are found here: mount them, or build an image FROM this one.
WORKDIR /app
ENV PYTHONPATH=/app \
    PEERFLOW_HOST=0.0.0.0
USER 10001
EXPOSE 8000
# Liveness, not readiness: a pod without Redis is not broken, it waits.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-I", "-S", "-c", "\
import http.client, os, sys; \
pod = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PEERFLOW_PORT', '8000')), timeout=2); \
pod.request('GET', '/healthz'); \
sys.exit(pod.getresponse().status != 200)"]
# Exec form: SIGTERM reaches the pod itself, which then drains.
STOPSIGNAL SIGTERM
ENTRYPOINT ["peerflow"]
CMD ["serve"]
