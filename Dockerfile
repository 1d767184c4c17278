# The image of the service; docs/image.md says more. Where there is no container engine, `npm run image` follows these
# same lines, so they are only what it understands.

# What is followed. A release names digests: --build-arg BASE_IMAGE=gcr.io/distroless/nodejs24-debian13:nonroot@sha256:…
ARG BUILD_IMAGE=node:24-trixie-slim
ARG BASE_IMAGE=gcr.io/distroless/nodejs24-debian13:nonroot

# The bundle is the same for every processor, so it is made on that of the builder.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
ARG SOURCE_DATE_EPOCH=0
ARG REVISION=unknown
# Whatever umask the checkout was made under: COPY keeps the modes of files, and their owner is not who reads them.
RUN npm run build && rm dist/program.code-cache && chmod -R a+rX LICENSE package.json config dist

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="registry-packages-proxy" \
  org.opencontainers.image.description="In-cluster proxy that serves packages published as OCI images, by digest, from a bounded local cache" \
  org.opencontainers.image.version="0.2.0" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /src/LICENSE /src/package.json /app/
COPY --from=build /src/config/default.yaml /app/config/
COPY --from=build /src/dist /app/dist/
# What V8 compiles is of use to the Node that compiled it, so it is that of the image. Predictable: the same bytes again.
USER 0:0
RUN ["/nodejs/bin/node", "--predictable", "--no-flush-bytecode", "/app/dist/compile.mjs", "serve", "--help"]
# As the chart has it. A number, so that the kubelet sees that it is not root.
USER 64535:64535
ENTRYPOINT ["/nodejs/bin/node", "/app/dist/start.mjs"]
