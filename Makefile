# Every target installs what it lacks, quietly where nothing is missing, and works from a clean clone
# on Debian 12 with rustup.

CARGO ?= cargo
SIM = $(CARGO) run --release --quiet -p ntm-sim --
# Seeds for the runs that CI makes; the long runs take more.
MOVE_SEEDS ?= 100
CHAOS_SEEDS ?= 60
LONG_MOVE_SEEDS ?= 1000
LONG_CHAOS_SEEDS ?= 5000
FUZZ_SECONDS ?= 600

.PHONY: help build demo demo-servers examples conformance header test check-format lint doc unit pure vectors sim sim-matrix sim-moves sim-setup sim-chaos \
	sim-long sim-recovery plots-recovery goodput-recovery scale bench bench-parts bench-as bench-servers bench-relay crash-as fuzz purity tools

help: ## what there is
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

tools: ## install what the build needs and the machine lacks
	@./packaging/install-tools build

build: tools ## everything, optimised
	$(CARGO) build --release --workspace

demo: tools ## two nodes behind two NATs, one of them moving, in the simulated internet
	@$(SIM) --scenario demo --seeds 1

test: ## everything that CI runs
	@./packaging/run-tests

demo-servers: ## the three servers on loopback, from nothing, and two programs that talk
	@./packaging/install-tools test
	@$(CARGO) build --quiet -p ntmfw -p ntm-account -p ntm-dc -p ntm-rs
	@./packaging/demo-servers "$$(./packaging/target-directory)/debug"

examples: ## the programs in examples/c, built and used
	@./tests/examples/run

conformance: ## the calls of <sys/socket.h>, one by one, beside the kernel; not all pass yet
	@./tests/conformance/run

header: ## include/ntmfw.h anew from the exports
	NTMFW_UPDATE_HEADER=1 $(CARGO) test --quiet -p ntmfw --test header

check-format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p ntm-proto -p ntm-node --no-default-features --features pure-rust -- -D warnings

doc: ## the code's documentation, links checked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

unit: ## unit, property and protocol tests
	$(CARGO) test --workspace --no-fail-fast --features ntm-direction/testing,ntm-relay/testing

vectors: ## the public Noise test vectors through both crypto providers
	$(CARGO) test -p ntm-proto --features pure-rust --test noise_vectors -- --nocapture

pure: ## the portable crypto provider, and that it interoperates with the fast one
	$(CARGO) test -p ntm-proto --features pure-rust

purity: ## proto and node reach no socket, clock, environment or thread
	@./packaging/check-purity

sim: sim-matrix sim-setup sim-moves sim-chaos ## the scenarios of the simulated internet, at CI's size

sim-matrix: ## every pair of network kinds: direct or relayed, and how soon
	$(SIM) --scenario matrix --seeds 1

sim-setup: ## paper 003, table 2, rerun on its round-trip times
	$(SIM) --scenario setup --seeds 1

sim-moves: ## transfers while nodes move
	$(SIM) --scenario moves --seeds $(MOVE_SEEDS)

sim-chaos: ## everything random, ten virtual minutes a seed
	$(SIM) --scenario chaos --seeds $(CHAOS_SEEDS)

# Both scenarios run to their ends whatever fails, so that the result shows all of it.
sim-long: tools ## 1,000 seeds of moves and 5,000 of chaos, kept in docs/results/sim-long.txt
	@RECORDED_COMMAND='make sim-long LONG_MOVE_SEEDS=$(LONG_MOVE_SEEDS) LONG_CHAOS_SEEDS=$(LONG_CHAOS_SEEDS)' \
		./packaging/record-result sim-long sh -c 'status=0; \
		$(SIM) --scenario moves --seeds $(LONG_MOVE_SEEDS) --keep-going || status=1; \
		$(SIM) --scenario chaos --seeds $(LONG_CHAOS_SEEDS) --keep-going || status=1; \
		exit $$status'

scale: ## one coordinator with 10^3 to 10^6 registered nodes
	$(CARGO) run --release --quiet -p ntm-direction --features testing --example scale

sim-recovery: ## 8 hours of virtual time of random trouble for TCP's recovery
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- trouble --hours 8

plots-recovery: ## congestion windows, flights and round trips over time, as SVG files in docs/results/recovery
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- plots docs/results/recovery

goodput-recovery: ## what one flow gets of simulated links of every kind, cubic and bbr
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- goodput --congestion cubic
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- goodput --congestion bbr

crash-as: ## the account server killed 50 times under load, nothing acknowledged lost
	NTM_AS_KILLS=50 $(CARGO) test -p ntm-account --test server -- --nocapture nothing_that_was_acknowledged

bench-as: ## logins a second at the account server, beside argon2 alone
	$(CARGO) bench --quiet -p ntm-account --bench logins

BENCH_ROUNDS ?= 5
bench: ## the library beside the kernel and its peers, kept in docs/results/bench.txt and bench.svg
	@RECORDED_COMMAND='make bench BENCH_ROUNDS=$(BENCH_ROUNDS)' ./packaging/record-result bench \
		./benches/run --rounds $(BENCH_ROUNDS) --plot docs/results/bench.svg

bench-parts: scale ## figures of the servers' cores
	$(CARGO) run --release --quiet -p ntm-relay --example forward_cost

bench-servers: bench-relay ## the servers beside their peers; as root, for it makes network namespaces

bench-relay: ## the relay beside coturn
	@./packaging/install-tools bench
	$(CARGO) build --release --quiet -p ntm-rs --bins --examples
	$${CARGO_TARGET_DIR:-target}/release/examples/relay_bench

fuzz: tools ## every fuzz target, FUZZ_SECONDS each
	@./packaging/run-fuzz $(FUZZ_SECONDS)
