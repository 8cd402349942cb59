//! The order in which everything that people are shown is typed, and what can't be typed here.

/// How one is run. A name is that of a node, or of a directory without one.
#[derive(Clone, Copy)]
pub enum How {
    /// To its end, which is a good one.
    By(&'static str),
    /// To its end, with this file of the desk's on standard input.
    Fed(&'static str, &'static str),
    /// As often as it takes until what others have done has come to this node.
    Soon(&'static str),
    /// Until it says this; then it is killed.
    Until(&'static str, &'static str),
    /// After Ben has asked to be let in.
    Asked(&'static str),
}

use How::{Asked, By, Fed, Soon, Until};

/// What is run, in this order.
pub const STORY: &[(&str, How)] = &[
    ("wattle init --name ana", By("new")),
    ("wattle up", Until("new", "is up")),
    ("wattle up --lan-only", Until("near", "is up")),
    ("wattle up --relay /dns/relay.example.org/tcp/4407/p2p/12D3…", Until("far", "is up")),
    ("wattle up --name ana --relay /ip4/203.0.113.7/tcp/4407/p2p/12D3…", Until("named", "is up")),
    ("wattle up --relay ADDRESS", Until("far", "is up")),
    ("wattle relay --listen 127.0.0.1:0", Until("hosts", "/p2p/")),
    ("wattle completions bash > ~/.local/share/bash-completion/completions/wattle", By("nobody")),
    ("wattle completions fish > ~/.config/fish/completions/wattle.fish", By("nobody")),
    ("wattle man | man -l -", By("nobody")),
    ("wattle man > ~/.local/share/man/man1/wattle.1", By("nobody")),
    // Who comes in.
    ("wattle group create ops", By("ana")),
    ("wattle invite deny ops ben", Asked("ana")),
    ("wattle invite approve ops ben", Asked("ana")),
    ("wattle invite ops > code.txt", By("ana")),
    ("wattle join --code-file code.txt", By("cleo")),
    ("wattle invite create ops > code.txt", By("ana")),
    ("wattle join", Fed("mallory", "code.txt")),
    ("wattle invite ops", By("ana")),
    ("wattle invite create ops --uses 3 --expires 7d", By("ana")),
    ("wattle invite create ops --uses 3 --expires 7d --any-admin", By("ana")),
    ("wattle invite list ops", By("ana")),
    ("wattle invite revoke ops 1a2b3c4d", By("ana")),
    ("ana$ wattle group create tea", By("ana")),
    ("ana$ wattle invite tea > code", By("ana")),
    ("ben$ wattle join < code", By("ben")),
    // What is said.
    ("wattle send ops deployed", By("ana")),
    ("wattle send ops deployed --wait all --timeout 5m", By("ana")),
    ("wattle tail ops", Until("ben", "deployed")),
    ("wattle --json tail ops -n 0", Until("ben", "following")),
    ("wattle history ops -n 100", By("ben")),
    ("wattle --json tail ops --since 4711", Until("ana", "deployed")),
    ("wattle cursor set log-shipper ops --from-start", By("ana")),
    (
        "wattle --json tail ops --cursor log-shipper | while read -r line; do ship \"$line\"; done",
        Until("ana", "shipped"),
    ),
    ("wattle cursor", By("ana")),
    ("wattle cursor list", By("ana")),
    ("wattle --json cursor list", By("ana")),
    ("wattle cursor set log-shipper ops", Soon("ana")),
    ("wattle cursor set log-shipper ops --to 4711", By("ana")),
    ("wattle cursor drop log-shipper", By("ana")),
    ("wattle export ops --format html --out ops.html", By("ana")),
    (
        "wattle export ops --format markdown --since 2026-01-01 --until 2026-02-01 --out january.md",
        By("ana"),
    ),
    ("wattle export ops --from @ben | jq -r .text", By("ana")),
    ("wattle history ops --ids", By("ben")),
    ("wattle edit ops 1a2b3c4d deployed to staging", By("ana")),
    ("wattle edit ops last - < text", By("ana")),
    ("wattle react ops 1a2b3c4d 👍", By("ana")),
    ("wattle react ops last ack", By("ana")),
    ("wattle react ops last ack --off", By("ana")),
    ("wattle pin ops 1a2b3c4d", By("ana")),
    ("wattle pin ops 1a2b3c4d --off", By("ana")),
    ("wattle delivery ops", By("ana")),
    ("wattle delivery ops 1a2b3c4d", By("ana")),
    ("wattle send ops --reply 1a2b3c4d on it", By("ana")),
    ("make 2>&1 | wattle send ops --block", By("ana")),
    ("journalctl -f -u web | wattle send ops -", By("ana")),
    ("wattle delete ops 1a2b3c4d", By("ana")),
    ("ana$ echo \"the kettle is on\" | wattle send tea", By("ana")),
    ("ben$ wattle tail tea", Until("ben", "the kettle is on")),
    ("ana$ uptime | wattle send tea --block", By("ana")),
    ("wattle file send tea plan.pdf", By("ana")),
    ("wattle file list tea", Soon("ben")),
    ("wattle file get tea plan.pdf", Soon("ben")),
    ("wattle file get tea plan.pdf --timeout 10m", By("ben")),
    ("wattle file cancel tea plan.pdf", By("ben")),
    // How things stand.
    ("wattle status", By("ana")),
    ("wattle --json status", By("ana")),
    ("wattle ping @ben", Soon("ana")),
    ("wattle ping ben --group tea --count 5", Soon("ana")),
    ("wattle doctor", Soon("ana")),
    ("wattle doctor --report", Soon("ana")),
    ("wattle doctor relay.example.org", Soon("ana")),
    ("wattle verify ops", Soon("ana")),
    ("wattle verify @ben", By("ana")),
    (
        "wattle verify @ben --compare 11111 22222 33333 44444 55555 66666 11111 22222 33333 44444 55555 66666",
        By("ana"),
    ),
    ("zbarimg -q --raw photo.png | wattle verify @ben --compare -", By("ana")),
    ("wattle verify @1a2b3c4d --accept", By("ana")),
    ("wattle audit ops", By("ana")),
    ("wattle audit verify", By("ana")),
    ("wattle audit verify ops", By("ana")),
    ("wattle audit export ops > ops.ndjson", By("ana")),
    ("wattle machine", By("ana")),
    ("wattle machine add 5f0c…", By("ana")),
    ("wattle machine list", By("ana")),
    ("wattle machine remove 5f0c…", By("ana")),
    // Who belongs, and what is agreed on.
    ("wattle group list", By("ana")),
    ("wattle --json group list", By("ana")),
    ("wattle group show ops", By("ana")),
    ("wattle group conduct ops", By("ana")),
    ("wattle group conduct ops --disappear 1w", By("ana")),
    ("wattle group conduct ops --disappear never", By("ana")),
    ("wattle group policy ops", By("ana")),
    ("wattle group policy ops --evict-after 30d --history share", By("ana")),
    ("wattle group share-history ops --last 50", By("ana")),
    ("wattle group policy ops --relay /dns/relay.example.org/tcp/4407/p2p/12D3…", By("ana")),
    ("wattle group promote ops ben", By("ana")),
    ("wattle group demote ops ben", By("ana")),
    ("wattle group rotate ops", By("ana")),
    ("wattle group remove ops cleo", By("ana")),
    ("wattle group readmit ops cleo", By("ana")),
    ("wattle recovery > code.txt", By("cleo")),
    ("wattle recovery --forget", By("cleo")),
    ("wattle group retire ops < code.txt", By("ana")),
    ("ana$ wattle group remove tea ben", By("ana")),
    // Whoever founded a group is followed without a word.
    ("wattle group promote ops ben", By("ana")),
    ("wattle group migrate ops --without mallory", Soon("ben")),
    ("wattle group follow ops", Soon("ana")),
    ("wattle group migrate ops", By("ben")),
    ("wattle group leave ops", Soon("mallory")),
    ("wattle wipe ops", Soon("mallory")),
    ("wattle down", By("cleo")),
    // A relay.
    ("wattle-rendezvous run", Until("nobody", "/p2p/")),
    (
        "wattle-rendezvous run --external relay.example.org:4407",
        Until("nobody", "relay.example.org"),
    ),
    ("target/release/wattle-rendezvous run", Until("nobody", "/p2p/")),
    ("wattle-rendezvous check relay.example.org", By("nobody")),
    (
        "wattle-rendezvous token new --label ana --expires 90d --bytes-per-day 1GiB > ana.token",
        By("nobody"),
    ),
    ("wattle-rendezvous token new --label ana --expires 90d", By("nobody")),
    ("wattle-rendezvous token list", By("nobody")),
    ("wattle-rendezvous token revoke 3f9a1c2b", By("nobody")),
    ("wattle-rendezvous check --store", By("nobody")),
    ("wattle-rendezvous repair", By("nobody")),
    ("wattle-rendezvous repair --new-generation", By("nobody")),
    (
        "docs/operations/cluster-certificates.sh wattle-tls 10.0.0.1,127.0.0.1 10.0.0.2,127.0.0.1 10.0.0.3,127.0.0.1",
        By("nobody"),
    ),
    (
        "install -m 600 /dev/null watch-token && head -c 24 /dev/urandom | base64 > watch-token",
        By("nobody"),
    ),
    // People who have no group of the name yet.
    ("wattle group create ops --relay /dns/relay.example.org/tcp/4407/p2p/12D3…", By("dora")),
    ("wattle group create ops --relay-token-file ana.token", By("eve")),
];

/// What is not run, and why.
pub const EXCEPTIONS: &[(&str, &str)] = &[
    (".ci/run", "it is what runs this"),
    ("cargo build --release -p rendezvous", "it builds what runs here"),
    ("cargo build -p node -p rendezvous", "it builds what runs here"),
    ("cargo run --release", "it builds, and is wattle up"),
    ("cargo test --workspace", "it is what runs this"),
    ("target/debug/wattle demo", "a minute of four processes: .ci/run demo"),
    ("wattle demo", "a minute of four processes: .ci/run demo"),
    ("wattle bench latency -n 200", "it measures, for a minute"),
    ("wattle backup create tea.backup", "it asks at a terminal for a passphrase: the story backup"),
    (
        "wattle backup restore tea.backup",
        "it asks at a terminal for a passphrase: the story backup",
    ),
    ("wattle wipe ops --unheard", "who leaves is heard here: node/src/core/tests/wipe.rs"),
    ("wattle notify", "it needs a desktop's session: the story notify"),
    (
        "wattle notify --content --group ops --for-me",
        "it needs a desktop's session: the story notify",
    ),
    ("wattle up --map-port", "it asks this network's router: the story port_map"),
    ("wattle up --no-relay --listen 192.168.1.10:4408", "the address is another machine's"),
    (
        "wattle group policy ops --relay-token-file new.token",
        "it needs a closed relay: the story closed_relay",
    ),
    ("ssh -N -L 4408:127.0.0.1:4408 relay.example.org", "it needs a server on the internet"),
    (
        "scp wattle-tls/ca.pem wattle-tls/10.0.0.1.pem wattle-tls/10.0.0.1-key.pem root@10.0.0.1:/etc/nats/",
        "it needs three servers",
    ),
    (
        "scp wattle-tls/ca.pem wattle-tls/relay.pem wattle-tls/relay-key.pem root@10.0.0.1:/etc/wattle-rendezvous/",
        "it needs three servers",
    ),
    (
        "wattle-rendezvous run --cluster nats://10.0.0.1:4222,nats://10.0.0.2:4222,nats://10.0.0.3:4222 \
         --cluster-monitor http://10.0.0.1:8222,http://10.0.0.2:8222,http://10.0.0.3:8222 \
         --external a.relay.example.org:4407 --external b.relay.example.org:4407 --external c.relay.example.org:4407",
        "it needs three servers: rendezvous/tests",
    ),
    ("wattle-rendezvous bench --dir /var/tmp", "a minute of load: rendezvous/tests/bench.rs"),
    (
        "wattle-rendezvous bench --dir /var/tmp --rate 0",
        "a minute of load: rendezvous/tests/bench.rs",
    ),
    (
        "wattle-rendezvous bench --idle 5000 --clients 2 --logs 1 --fan-out 1",
        "it opens ten thousand sockets: rendezvous/tests/bench.rs",
    ),
    (
        "wattle-rendezvous bench relay.example.org --rate 50",
        "a minute of load: rendezvous/tests/bench.rs",
    ),
    ("wattle-rendezvous bench --soak --rate 1000 --seconds 7200", "it takes two hours"),
];
