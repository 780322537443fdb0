# One image for each program: nothing but a static binary, CA certificates and,
# for the catalog, the plans that we ship. Nothing is pulled.
#
#   make build                                    # fills target/image/context
#   docker build --target gateway --tag localhost/mongodb-osb/gateway:dev \
#     --file Dockerfile target/image/context
#
# Without a container engine `make images` makes the same images from this same
# file; it reads FROM, COPY, USER and ENTRYPOINT and refuses anything else.

FROM scratch AS base
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM base AS catalog-svc
COPY templates /templates
COPY bin/catalog-svc /catalog-svc
ENTRYPOINT ["/catalog-svc"]

FROM base AS provisioner-svc
COPY bin/provisioner-svc /provisioner-svc
ENTRYPOINT ["/provisioner-svc"]

FROM base AS binder-svc
COPY bin/binder-svc /binder-svc
ENTRYPOINT ["/binder-svc"]

FROM base AS gateway
COPY bin/gateway /gateway
ENTRYPOINT ["/gateway"]

FROM base AS identity
COPY bin/identity /identity
ENTRYPOINT ["/identity"]

# Runs beside mongod in the pods of an instance.
FROM base AS mongo-bootstrap
COPY bin/mongo-bootstrap /mongo-bootstrap
ENTRYPOINT ["/mongo-bootstrap"]

# The demo's app, which uses a binding from inside the cluster.
FROM base AS demo
COPY bin/demo /demo
ENTRYPOINT ["/demo"]
