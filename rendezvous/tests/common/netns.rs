//! Machines of a test's own: network namespaces on one bridge, which nftables can part. Needs root, and
//! Debian's iproute2 and nftables.

use std::{
    env,
    io::Write as _,
    process::{self, Command, Stdio},
};

/// Where the test itself is.
const HUB: &str = "10.77.0.254";
/// Set for a test that runs on the hub.
const INSIDE: &str = "WATTLE_TEST_NETNS";

/// The namespaces; they go when this is dropped.
pub struct Machines {
    tag: String,
    count: usize,
}

/// How a machine is cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// From everybody.
    All,
    /// From the other machines; clients reach it.
    Others,
}

/// Runs a test with so many machines: makes them, and runs this very test again on their hub. Answers
/// them there, and `None` outside, once all is over, and where it is skipped.
pub fn with(count: usize, test: &str) -> Option<Machines> {
    if let Ok(tag) = env::var(INSIDE) {
        return Some(Machines { tag, count });
    }
    let tag = format!("wt{}", process::id());
    if let Err(why) = Machines::make(&tag, count) {
        Machines { tag, count }.remove();
        assert!(
            env::var_os("WATTLE_REQUIRE_ALL").is_none_or(|it| it != "1"),
            "no namespaces: {why}"
        );
        println!("skipped: no network namespaces with nftables: {why}");
        return None;
    }
    let machines = Machines { tag, count };
    let mut inner = Command::new("ip");
    inner.args(["netns", "exec", &machines.hub()]).arg(env::current_exe().unwrap());
    let status = inner.args([test, "--exact", "--nocapture"]).env(INSIDE, &machines.tag).status();
    machines.remove();
    assert!(status.unwrap().success(), "the test failed in its namespaces");
    None
}

impl Machines {
    fn make(tag: &str, count: usize) -> Result<(), String> {
        let hub = format!("{tag}-hub");
        run(&format!("ip netns add {hub}"))?;
        run(&format!("ip -n {hub} link set lo up"))?;
        run(&format!("ip -n {hub} link add br0 type bridge"))?;
        run(&format!("ip -n {hub} addr add {HUB}/24 dev br0"))?;
        run(&format!("ip -n {hub} link set br0 up"))?;
        for number in 0..count {
            let (name, ip) = (format!("{tag}-{number}"), ip(number));
            run(&format!("ip netns add {name}"))?;
            run(&format!("ip -n {name} link set lo up"))?;
            run(&format!("ip -n {hub} link add v{number} type veth peer name e0 netns {name}"))?;
            run(&format!("ip -n {hub} link set v{number} master br0 up"))?;
            run(&format!("ip -n {name} addr add {ip}/24 dev e0"))?;
            run(&format!("ip -n {name} link set e0 up"))?;
        }
        run(&format!("ip netns exec {hub} nft list ruleset"))
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.tag)
    }

    fn remove(&self) {
        let names = (0..self.count).map(|number| format!("{}-{number}", self.tag));
        for name in names.chain([self.hub()]) {
            let _ = run(&format!("ip netns del {name}"));
        }
    }

    /// What a command begins with that runs on a machine.
    pub fn by(&self, number: usize) -> Vec<String> {
        ["ip", "netns", "exec", &format!("{}-{number}", self.tag)].map(str::to_owned).into()
    }

    /// Cuts a machine off.
    pub fn cut(&self, number: usize, cut: Cut) {
        let (from, to) = match cut {
            Cut::All => (String::new(), String::new()),
            Cut::Others => {
                let others = "10.77.0.1-10.77.0.99";
                (format!("ip saddr {others} "), format!("ip daddr {others} "))
            }
        };
        self.nft(
            number,
            &format!(
                "table inet cut {{\n\
                 chain in {{ type filter hook input priority 0; iifname != \"lo\" {from}drop; }}\n\
                 chain out {{ type filter hook output priority 0; oifname != \"lo\" {to}drop; }}\n}}\n"
            ),
        );
    }

    /// Has a machine be reached again.
    pub fn heal(&self, number: usize) {
        self.nft(number, "delete table inet cut\n");
    }

    fn nft(&self, number: usize, rules: &str) {
        let by = self.by(number);
        let mut nft = Command::new(&by[0])
            .args(&by[1..])
            .args(["nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
    }
}

/// A machine's address.
pub fn ip(number: usize) -> String {
    format!("10.77.0.{}", number + 1)
}

fn run(command: &str) -> Result<(), String> {
    let words: Vec<_> = command.split(' ').collect();
    let done = Command::new(words[0]).args(&words[1..]).output();
    let done = done.map_err(|error| format!("{}: {error}", words[0]))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() { Ok(()) } else { Err(format!("{command}: {said}")) }
}
