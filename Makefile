# `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# Programs that go into images are linked statically, in a target folder of
# their own: other flags than the tests' would rebuild everything each time.
PROFILE ?= image
IMAGE := $(TARGET)/image
IMAGE_BIN := $(IMAGE)/$(HOST)/$(PROFILE)
CONTEXT_DIR := $(IMAGE)/context
IMAGE_CRATES := gateway catalog-svc provisioner-svc binder-svc identity mongo-bootstrap demo
PROGRAMS ?= $(IMAGE_CRATES)
SPACE := $() $()
COMMA := ,

# Where this machine keeps sources is not told by a program, so that it is the same wherever it is
# built. Our own files are named relative to the checkout as it is. The checkout's folder must not
# be among the flags: with it each new clone would compile all dependencies again.
CARGO_FOLDER := $(or $(CARGO_HOME),$(HOME)/.cargo)
TOOLCHAIN := $(shell rustc --print sysroot)
COMPILER := $(shell rustc -vV | sed -n 's/^commit-hash: //p')
STATIC_FLAGS = -C target-feature=+crt-static --remap-path-prefix=$(IMAGE)=/target \
  --remap-path-prefix=$(TOOLCHAIN)/lib/rustlib/src/rust=/rustc/$(COMPILER) \
  $$(printf -- '--remap-path-prefix=%s=/crates ' $(CARGO_FOLDER)/registry/src/*)
# The folders of sources are there after the fetch. cargo-auditable puts the list of what is linked
# in into each program.
STATIC_BUILD = $(CARGO) fetch --locked --quiet --target $(HOST) && RUSTFLAGS="$(STATIC_FLAGS)" $(AUDITABLE) auditable build --locked \
  --profile $(PROFILE) --target $(HOST) --target-dir $(IMAGE)
CA_CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt

# Shipped plans, and the site plan of the demo overlay.
TEMPLATES := catalog-svc/templates
SITE_TEMPLATES := k8s/overlays/demo/site-templates
PLAN_ROLE := k8s/base/access/role-plans.yaml
PLAN_RBAC = $(CARGO) run --locked --quiet --package catalog-svc -- plan rbac $(TEMPLATES) $(SITE_TEMPLATES)

# demo and down, on a cluster of yours: CONTEXT=<kubeconfig context> [REGISTRY=<host/path>].
DEMO := $(IMAGE_BIN)/demo --root . --images $(CONTEXT_DIR)
WHERE := $(if $(CONTEXT),--context '$(CONTEXT)') $(if $(REGISTRY),--registry '$(REGISTRY)')

# Built once a machine, outside of the checkout; without optimisation it is
# quick to build and quick enough to run.
TOOLS := $(abspath $(or $(XDG_CACHE_HOME),$(HOME)/.cache))/mongodb-osb/tools
AUDITABLE_VERSION := 0.7.7
AUDITABLE := $(TOOLS)/cargo-auditable-$(AUDITABLE_VERSION)/bin/cargo-auditable
# Reads what cargo-auditable wrote.
AUDIT_INFO_VERSION := 0.5.4
AUDIT_INFO := $(TOOLS)/rust-audit-info-$(AUDIT_INFO_VERSION)/bin/rust-audit-info
DENY_VERSION := 0.20.2
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
MACHETE_VERSION := 0.9.1
MACHETE := $(TOOLS)/cargo-machete-$(MACHETE_VERSION)/bin/cargo-machete

.PHONY: help
help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "Variables: KEEP=1 leaves the demo running; CONTEXT=<name> uses a cluster of yours;"
	@echo "  REGISTRY=<host/path> is where that cluster gets the images from;"
	@echo "  FORCE=1 with \`down\` removes a broker whoever deployed it."

.PHONY: demo
demo: build ## The broker's whole job on a real cluster [KEEP=1] [CONTEXT=name] [REGISTRY=host/path]
	@$(DEMO) $(WHERE) demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: down
down: $(IMAGE_BIN)/demo ## Removes what the demo or Tilt left running [CONTEXT=name [FORCE=1]]
	@$(DEMO) $(WHERE) down $(if $(filter-out 0,$(FORCE)),--force)

# Compiled only where there is none: what runs can be removed while the tree does not compile.
$(IMAGE_BIN)/demo: | $(AUDITABLE)
	@$(STATIC_BUILD) --bin demo --package demo

.PHONY: build
build: $(AUDITABLE) $(AUDIT_INFO) ## Builds the static programs and the build context of the images
	@$(MAKE) programs PROGRAMS='$(IMAGE_CRATES)'

# A program without its list of dependencies goes into no image.
.PHONY: programs
programs:
	@$(STATIC_BUILD) --bins $(addprefix --package ,$(PROGRAMS))
	@test -r $(CA_CERTIFICATES) || { echo "no $(CA_CERTIFICATES): install ca-certificates or set CA_CERTIFICATES" >&2; exit 1; }
	@for program in $(PROGRAMS); do \
	  $(AUDIT_INFO) $(IMAGE_BIN)/$$program >/dev/null \
	    || { echo "$$program was built without its list of dependencies: make build" >&2; exit 1; }; \
	done
	@mkdir -p $(CONTEXT_DIR)/bin
	@install -m 0755 $(addprefix $(IMAGE_BIN)/,$(PROGRAMS)) $(CONTEXT_DIR)/bin/
	@install -m 0644 $(CA_CERTIFICATES) $(CONTEXT_DIR)/ca-certificates.crt
	@rm -rf $(CONTEXT_DIR)/templates
	@cp -r $(TEMPLATES) $(CONTEXT_DIR)/templates
	@rm -rf $(CONTEXT_DIR)/templates/*/*/tests

.PHONY: images
images: build ## Makes the images, as archives, and an SBOM of each, without a container engine
	@$(DEMO) images --out $(IMAGE)/archives --sbom-tool $(AUDIT_INFO)

# Programs as for production, and manifests in which each of our images stands by its digest.
RELEASE := $(TARGET)/release-files
RELEASE_PROFILE = $(if $(filter command line environment,$(origin PROFILE)),$(PROFILE),release)
OVERLAY ?= k8s/overlays/replicas
.PHONY: release run-release
release: ## Images, SBOMs and manifests by digest REGISTRY=host/path TAG=version [OVERLAY=k8s/…]
	@test -n '$(REGISTRY)' -a -n '$(TAG)' || { echo "make release REGISTRY=<host/path> TAG=<version>" >&2; exit 2; }
	@$(MAKE) run-release PROFILE=$(RELEASE_PROFILE)

run-release: build
	@$(DEMO) release --out $(RELEASE) --prefix '$(REGISTRY)' --tag '$(TAG)' --overlay $(OVERLAY) --sbom-tool $(AUDIT_INFO)

# What is committed, built in two folders, with two folders of sources and two of results.
.PHONY: reproducible
reproducible: $(AUDITABLE) $(AUDIT_INFO) ## Builds what is committed twice, in different folders, and compares digests [PROGRAMS='names'] [PROFILE=image]
	@$(CARGO) fetch --locked --quiet --target $(HOST)
	@$(CARGO) build --locked --quiet --package demo
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	for place in one another/place; do \
	  mkdir -p "$$scratch/$$place/checkout"; \
	  git archive HEAD | tar --extract --directory "$$scratch/$$place/checkout"; \
	  ln -s '$(abspath $(CARGO_FOLDER))' "$$scratch/$$place/cargo"; \
	  CARGO_HOME="$$scratch/$$place/cargo" CARGO_TARGET_DIR="$$scratch/$$place/target" \
	    $(MAKE) --directory "$$scratch/$$place/checkout" programs PROFILE=$(RELEASE_PROFILE) PROGRAMS='$(PROGRAMS)'; \
	  (cd "$$scratch/$$place/target/image/context/bin" && sha256sum *) > "$$scratch/$$(basename $$place).programs"; \
	  $(TARGET)/debug/demo --root . --images "$$scratch/$$place/target/image/context" images --digests \
	    --sbom-tool $(AUDIT_INFO) --only '$(subst $(SPACE),$(COMMA),$(strip $(PROGRAMS)))' \
	    --out "$$scratch/$$place/archives" >/dev/null; \
	  (cd "$$scratch/$$place/archives" && sha256sum *) > "$$scratch/$$(basename $$place).archives"; \
	done; \
	cat "$$scratch/one.programs" "$$scratch/one.archives"; \
	diff "$$scratch/one.programs" "$$scratch/place.programs" && diff "$$scratch/one.archives" "$$scratch/place.archives" \
	  || { echo "the two builds differ" >&2; exit 1; }; \
	if grep --text --quiet --recursive --fixed-strings "$$scratch" "$$scratch/one/target/image/context/bin"; then \
	  echo "a program names the folder that it was built in" >&2; exit 1; \
	fi; \
	echo "both builds are the same"

.PHONY: test
test: build ## All tests, on real parts; installs and builds what they need
	@$(CARGO) run --locked --quiet --package testbed -- binaries
	@$(CARGO) test --locked --workspace --no-fail-fast

.PHONY: lint
lint: ## Format, clippy, docs, dependencies, plans, generated files
	@echo "== format"; $(CARGO) fmt --all --check
	@echo "== clippy"; $(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	@echo "== docs"; RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	@echo "== dependencies"; $(MAKE) unused deny
	@echo "== plans"; $(CARGO) run --locked --quiet --package catalog-svc -- plan lint $(TEMPLATES) $(SITE_TEMPLATES)
	@$(CARGO) run --locked --quiet --package catalog-svc -- plan test $(TEMPLATES)
	@echo "== role of the plans"; $(PLAN_RBAC) | diff - $(PLAN_ROLE) \
	  || { echo "$(PLAN_ROLE) is stale: make rbac" >&2; exit 1; }

# A tool by the path of its program, which names tool and version.
$(TOOLS)/%:
	@tool=$(firstword $(subst /, ,$*)); name=$${tool%-*}; version=$${tool##*-}; \
	  echo "building $$name $$version, once a machine"; \
	  scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	  $(CARGO) install --quiet --locked --debug --root $(TOOLS)/$$tool \
	    --target-dir "$$scratch" "$$name@$$version"

.PHONY: unused
unused: $(MACHETE) ## Dependencies that no crate uses
	@$(MACHETE) --skip-target-dir . >/dev/null || { $(MACHETE) --skip-target-dir .; exit 1; }

ADVISORIES := https://github.com/RustSec/advisory-db
# cargo-deny fetches the advisories by git: ADVISORY_DB is where from, any URL that git knows.
ADVISORY_DB ?= $(ADVISORIES)
DENY_CHECK = $(DENY) --locked --log-level warn check --hide-inclusion-graph

.PHONY: deny
deny: $(DENY) ## Licences, banned and duplicate crates, sources; advisories where they can be had
	@$(DENY_CHECK) licenses bans sources
	@if timeout 20 git ls-remote --quiet '$(ADVISORY_DB)' HEAD >/dev/null 2>&1; then \
	  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0='url.$(ADVISORY_DB).insteadOf' GIT_CONFIG_VALUE_0='$(ADVISORIES)' \
	    $(DENY_CHECK) advisories; \
	  echo "advisories checked on $$(date --utc +%F) against $(ADVISORY_DB)"; \
	else \
	  echo "advisories NOT CHECKED: $(ADVISORY_DB) cannot be reached; ADVISORY_DB=<git URL of a clone> names another"; \
	fi

# Slow, and seldom broken: not part of `make test`. Crash points are in debug builds only.
# The four services come from this very tree.
SERVICE_BUILD := $(TARGET)/debug
.PHONY: verify
verify: ## The broker under faults of everything around it, about an hour [SEED=n] [PHASE=steps,links,kills] [ONLY=text]
	@$(CARGO) build --locked --workspace --bins
	@$(SERVICE_BUILD)/verify --root . --programs $(SERVICE_BUILD) $(if $(SEED),--seed $(SEED)) \
	  $(if $(PHASE),--phase $(PHASE)) $(if $(ONLY),--only '$(ONLY)') $(if $(LIVES),--lives $(LIVES))

# Programs as for production (`make images PROFILE=release`), not those that are fast to rebuild.
.PHONY: bench run-bench
bench: ## The broker beside what it stands on, as ratios, half an hour [QUICK=1] [REPLICAS=n] [RECORDS=n] [SUBJECT=start,catalog,…] [POD=1] [LOGS=folder]
	@$(MAKE) run-bench PROFILE=release

run-bench: $(AUDITABLE)
	@$(STATIC_BUILD) --bins $(addprefix --package ,gateway catalog-svc provisioner-svc binder-svc bench)
	@$(IMAGE_BIN)/bench --root . --programs $(IMAGE_BIN) $(if $(filter-out 0,$(QUICK)),--quick) \
	  $(if $(REPLICAS),--replicas '$(REPLICAS)') $(if $(RECORDS),--records '$(RECORDS)') $(if $(SUBJECT),--subject '$(SUBJECT)') \
	  $(if $(filter-out 0,$(POD)),--pod) $(if $(LOGS),--logs '$(LOGS)')

.PHONY: bench-plans
bench-plans: ## What reading, checking and rendering a plan costs, without a cluster
	@$(CARGO) bench --locked --package plan --bench plans --package sandbox --bench render

.PHONY: rbac
rbac: ## Writes the ClusterRole that the shipped plans need
	@$(PLAN_RBAC) > $(PLAN_ROLE).new
	@mv $(PLAN_ROLE).new $(PLAN_ROLE)

.PHONY: crds
crds: ## Writes the CustomResourceDefinitions from the Rust types
	@UPDATE_CRDS=1 $(CARGO) test --locked --quiet --package provisioner-svc --test api shipped_custom_resource
	@UPDATE_CRDS=1 $(CARGO) test --locked --quiet --package binder-svc --lib crd
