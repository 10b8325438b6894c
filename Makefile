# Two commands to start: make demo, make test. Both work on a machine with Rust, a C compiler and make;
# make test also wants Python 3.11 or newer, with venv (on Debian and Ubuntu: python3-venv).

CARGO ?= cargo
# Tools at the versions that are pinned here, under target/, never on the machine.
TOOLS := target/tools
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2
CYCLONEDX_VERSION := 0.5.9
FUZZ_SECONDS ?= 60
SEEDS ?= 100000
PYTHON ?= python3
# What `make package` builds for.
ARCHITECTURES ?= arm64 x86_64

CYCLONEDX := $(TOOLS)/bin/cargo-cyclonedx-$(CYCLONEDX_VERSION)
PACKAGE = PATH="$(CURDIR)/$(TOOLS)/lambda/bin:$$PATH" "$(PYTHON)" infra/package/package.py --cyclonedx "$(CURDIR)/$(CYCLONEDX)"

.DEFAULT_GOAL := help
# One after the other, also with -j: `make package deploy` deploys what was packaged, and cargo uses every core by itself.
.NOTPARALLEL:
.PHONY: help demo test simulate check deny audit bench fuzz functions package package-check package-for-tests deploy destroy man

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: ## one access key's story, from its creation to the ledger, in an AWS in the process
	$(CARGO) run --locked --quiet -p keytide -- demo

test: check deny ## everything that must hold: lints, all tests, the judges that are not ours, licences
	$(CARGO) test --locked --workspace --features keytide-tests/counterparts

simulate: ## a hundred days of sweeps by chance, SEEDS=100000 times; SEED=n tells one story alone
	SEEDS=$(SEEDS) $(CARGO) test --locked --release -p keytide-tests --test e2e simulate -- --nocapture

check: ## formatting and lints, warnings refused
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features keytide-tests/counterparts -- -D warnings

deny: $(TOOLS)/bin/cargo-deny-$(DENY_VERSION) ## licences, sources, and one TLS stack
	$(CARGO) fetch --locked
	$< --offline --all-features check bans licenses sources

audit: $(TOOLS)/bin/cargo-deny-$(DENY_VERSION) ## known vulnerabilities; needs a network
	$< --all-features check advisories

bench: ## the table of README's figures, each beside a reference of the same run; FIGURES="sweep growth" for some
	$(CARGO) bench --locked -p keytide-tests -- $(FIGURES)

fuzz: $(TOOLS)/bin/cargo-fuzz-$(FUZZ_VERSION) ## the reader against whatever comes (nightly Rust), FUZZ_SECONDS=60
	mkdir -p fuzz/corpus/reader
	cp events/cloudtrail/*.json fuzz/corpus/reader/
	cd fuzz && PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" RUSTUP_TOOLCHAIN=nightly \
		../$< run reader --fuzz-dir . -- -max_total_time=$(FUZZ_SECONDS) -max_len=65536

package: $(TOOLS)/lambda/made $(CYCLONEDX) ## the functions as they are deployed: zips, parts lists, checksums; ARCHITECTURES="arm64 x86_64"
	$(PACKAGE) build $(ARCHITECTURES)

package-check: $(TOOLS)/lambda/made $(CYCLONEDX) ## that two builds, in two folders, make the same packages
	$(PACKAGE) check $(ARCHITECTURES)

# What the tests deploy: of ARCHITECTURES, INTO a folder of their own, without the parts lists and their tool.
package-for-tests: $(TOOLS)/lambda/made
	$(PACKAGE) build $(ARCHITECTURES) --no-parts-lists --into "$(INTO)"

deploy: ## keytide into an organization, by infra/deployment.env: says what it will do, asks; DRY=1 only looks; infra/DEPLOY.md
	@DRY="$(DRY)" YES="$(YES)" infra/deploy.sh deploy

destroy: ## and out of it again; the ledger and the logs stay
	@DRY="$(DRY)" YES="$(YES)" infra/deploy.sh destroy

functions: ## the Lambda functions, small, as they are deployed
	$(CARGO) build --locked --profile lambda -p keytide-watcher
	$(CARGO) build --locked --profile lambda -p keytide-sweeper

man: ## the manual page, into target/man
	mkdir -p target/man
	$(CARGO) run --locked --quiet -p keytide -- man > target/man/keytide.1

# Built without optimisation: it runs for two seconds, and this saves minutes.
$(TOOLS)/bin/cargo-deny-$(DENY_VERSION):
	$(CARGO) install --locked --debug --root $(TOOLS) --version $(DENY_VERSION) --no-default-features cargo-deny
	mv $(TOOLS)/bin/cargo-deny $@

$(TOOLS)/bin/cargo-fuzz-$(FUZZ_VERSION):
	$(CARGO) install --locked --root $(TOOLS) --version $(FUZZ_VERSION) cargo-fuzz
	mv $(TOOLS)/bin/cargo-fuzz $@

# It writes what is linked into a function; of a few dependencies more than cargo-deny's, so not optimised either.
$(CYCLONEDX):
	$(CARGO) install --locked --debug --root $(TOOLS) --version $(CYCLONEDX_VERSION) cargo-cyclonedx
	mv $(TOOLS)/bin/cargo-cyclonedx $@

# cargo-lambda comes as a Python package, and Zig with it.
$(TOOLS)/lambda/made: infra/package/requirements.txt
	rm -rf $(@D)
	"$(PYTHON)" -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement $<
	touch $@
