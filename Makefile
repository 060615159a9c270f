# groom: `make` alone lists what there is.
GO     ?= go
BIN    ?= bin
BUILD  ?= build
KEEP   ?=
BUILDID := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
EXAMPLES := pi pagerank importgraph ranks

export CGO_ENABLED = 0

# Linters run from their module versions, so that a fresh machine needs nothing but Go.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     = mvdan.cc/gofumpt@v0.12.0

# The torture: cycles, and the seed of its plan (0 draws one, and prints it).
N    ?= 400
SEED ?= 0

.PHONY: help build run test race lint e2e torture teeth sweep bench bench-peers soak clean

help: ## what there is
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/groom and its examples
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags "-X main.build=$(BUILDID)" -o $(BIN)/groom .
	$(GO) build -trimpath -o $(BIN)/ $(addprefix ./examples/,$(EXAMPLES))

run: build ## the main job: PageRank of the Go source on this machine (KEEP=1 stays up to look at)
	@BIN=$(BIN) BUILD=$(BUILD) KEEP=$(KEEP) ./examples/run

test: ## every test, end-to-end ones included, with the race detector
	@./test/prepare
	@$(GO) build -o $(BUILD)/summary ./test/summary
	@CGO_ENABLED=1 $(GO) test -race -timeout 10m -json ./... | $(BUILD)/summary

race: test ## the same: the race detector is always on

e2e: ## only the end-to-end tests
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 10m -v ./test/e2e

sweep: ## kill groom, its shims and its journal before each of their system calls that leave something; minutes
	$(GO) test -count=1 -timeout 60m -parallel 4 -run 'TestSweep$$' ./test/faults -sweep.all
	$(GO) test -count=1 -timeout 60m -parallel 4 -run 'TestSweep' ./journal -sweep.all

lint: ## vet, staticcheck, gofumpt
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@out=$$($(GO) run $(GOFUMPT) -l .); [ -z "$$out" ] || { echo "gofumpt would change:"; echo "$$out"; exit 1; }

bench: build ## the figures, each as a ratio in one run
	$(GO) run ./test/bench

bench-peers: ## install supervisord and s6, which make bench measures beside groom when they are there
	apt-get install -y --no-install-recommends supervisor s6

soak: ## 10,000 short attempts through one groom: nothing of them may stay behind
	$(GO) test -count=1 -timeout 30m -v ./test/soak -attempts=10000

torture: ## random kills of groom, shims and tasks, judged by marks on disk (N=cycles SEED=plan)
	@$(MAKE) -s torturers
	@$(BUILD)/torture/torture -bin $(BUILD)/torture -n $(N) -seed $(SEED) -v

teeth: ## the torture must find each of five builds that lack one protection
	@$(MAKE) -s torturers
	@$(GO) run ./test/torture/teeth -bin $(BUILD)/torture -dir $(BUILD)/teeth

# Groom, what it runs, and what tortures it.
.PHONY: torturers
torturers:
	@mkdir -p $(BUILD)/torture
	@$(GO) build -trimpath -o $(BUILD)/torture/ . ./examples/pi ./test/torture ./test/torture/task

clean: ## remove what was built
	rm -rf $(BIN) $(BUILD)
