//! Networks of a story's own: namespaces of Linux on bridges, without any way out.
//!
//! Making them takes root and Debian's iproute2. A [`Nets`] and all in it are gone when it ends, or when the next one
//! is made, where its process was killed. A [`Network`] is a bridge in a namespace of its own; a [`Machine`] is a namespace that is plugged into any
//! number of networks, and `Machine::by` is what a command begins with that runs there. Files and Unix sockets are
//! those of everybody, so the harness asks a node on a machine as it asks any other.
//!
//! No machine has a route beyond its networks unless one is added. [`Nets::behind`] makes a network behind a router, which
//! is a machine on two networks that forwards, and does with nft what such routers do ([`Nat`]). On a
//! [slow network](Nets::slow_network) packets take their time, some get lost, and machines can be parted.

mod router;
mod wire;

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use self::wire::Wire;
pub use self::{
    router::{INSIDE, Nat},
    wire::Weather,
};
use crate::{available, left};

/// The namespaces of one story.
pub struct Nets {
    tag: String,
    made: std::cell::RefCell<Vec<String>>,
}

/// A bridge, or a wire that stands for one.
pub struct Network {
    namespace: String,
    plugs: std::cell::Cell<u32>,
    wire: Option<Wire>,
}

/// A machine.
#[derive(Clone)]
pub struct Machine {
    namespace: String,
}

impl Nets {
    /// An empty set, if namespaces can be made here; else says that the story is skipped, and why. With
    /// `WATTLE_REQUIRE_ALL=1` that fails.
    #[must_use]
    pub fn new() -> Option<Self> {
        available(Self::try_new())
    }

    /// An empty set, or why namespaces can't be made here.
    pub fn try_new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        left::sweep();
        let tag = format!("{}{}{number}", left::NAMESPACE, left::maker());
        let nets = Self { tag, made: Vec::new().into() };
        let probe = nets
            .try_namespace("probe")
            .and_then(|name| run(&["ip", "-n", &name, "link", "add", "probe", "type", "bridge"]));
        match probe {
            Ok(_) => Ok(nets),
            Err(why) => Err(format!("no network namespaces: {why}")),
        }
    }

    /// A network to which nothing is plugged yet.
    #[must_use]
    pub fn network(&self, name: &str) -> Network {
        let namespace = self.namespace(name);
        must(&["ip", "-n", &namespace, "link", "add", "br0", "type", "bridge"]);
        must(&["ip", "-n", &namespace, "link", "set", "br0", "up"]);
        Network { namespace, plugs: 0.into(), wire: None }
    }

    /// The same, where packets fare so.
    #[must_use]
    pub fn slow_network(&self, name: &str, weather: Weather) -> Network {
        let namespace = self.namespace(name);
        let wire = Wire::new(&Machine { namespace: namespace.clone() }, weather);
        Network { namespace, plugs: 0.into(), wire: Some(wire) }
    }

    /// A machine on no network yet.
    #[must_use]
    pub fn machine(&self, name: &str) -> Machine {
        let namespace = self.namespace(name);
        must(&["ip", "-n", &namespace, "link", "set", "lo", "up"]);
        Machine { namespace }
    }

    fn namespace(&self, name: &str) -> String {
        self.try_namespace(name).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_namespace(&self, name: &str) -> Result<String, String> {
        let name = format!("{}-{name}", self.tag);
        run(&["ip", "netns", "add", &name])?;
        self.made.borrow_mut().push(name.clone());
        Ok(name)
    }
}

impl Drop for Nets {
    fn drop(&mut self) {
        for name in self.made.get_mut().iter() {
            let _ = run(&["ip", "netns", "del", name]);
        }
    }
}

impl Network {
    /// Parts two machines of a slow network, by the numbers in which they were plugged in.
    pub fn cut(&self, one: usize, other: usize) {
        self.wire().tell(&format!("cut p{one} p{other}"));
    }

    /// Undoes that.
    pub fn mend(&self, one: usize, other: usize) {
        self.wire().tell(&format!("mend p{one} p{other}"));
    }

    /// Holds back what a machine of a slow network sends and is sent by so much more.
    pub fn slow(&self, one: usize, by: Duration) {
        self.wire().tell(&format!("slow p{one} {}", by.as_secs_f64()));
    }

    fn wire(&self) -> &Wire {
        self.wire.as_ref().expect("a slow network")
    }
}

impl Machine {
    /// Plugs it into a network by the interface `port`, with an address such as `10.78.0.1/24`. Multicast
    /// goes through: a veth has it switched on, and a bridge passes it to everybody.
    pub fn plug(&self, network: &Network, port: &str, address: &str) {
        let number = network.plugs.get();
        network.plugs.set(number + 1);
        let socket = format!("p{number}");
        let there = [
            "ip",
            "-n",
            &network.namespace,
            "link",
            "add",
            &socket,
            "type",
            "veth",
            "peer",
            "name",
            port,
            "netns",
            &self.namespace,
        ];
        must(&there);
        match &network.wire {
            None => {
                must(&["ip", "-n", &network.namespace, "link", "set", &socket, "master", "br0"]);
                must(&["ip", "-n", &network.namespace, "link", "set", &socket, "up"]);
            }
            Some(wire) => {
                must(&["ip", "-n", &network.namespace, "link", "set", &socket, "up"]);
                wire.plug(&socket);
            }
        }
        must(&["ip", "-n", &self.namespace, "link", "set", port, "multicast", "on", "up"]);
        self.give(port, address);
    }

    /// Gives an interface one more address. One of IPv6 is not first asked for in the network, so that it can be used
    /// at once.
    pub fn give(&self, port: &str, address: &str) {
        let mut words = vec!["ip", "-n", &self.namespace, "addr", "add", address, "dev", port];
        words.extend(address.contains(':').then_some("nodad"));
        must(&words);
    }

    /// Takes an address away.
    pub fn take(&self, port: &str, address: &str) {
        must(&["ip", "-n", &self.namespace, "addr", "del", address, "dev", port]);
    }

    /// Has another address in place of one, as after a new lease.
    pub fn readdress(&self, port: &str, from: &str, to: &str) {
        self.take(port, from);
        self.give(port, to);
    }

    /// Goes by this router wherever its own networks don't lead.
    pub fn route(&self, by: &str) {
        must(&["ip", "-n", &self.namespace, "route", "replace", "default", "via", by]);
    }

    /// Goes by this router to a network of IPv6, or wherever else ("default").
    pub fn route_six(&self, to: &str, by: &str) {
        must(&["ip", "-n", &self.namespace, "-6", "route", "replace", to, "via", by]);
    }

    /// The routes beyond its own networks, as iproute2 shows them.
    #[must_use]
    pub fn ways_out(&self) -> String {
        must(&["ip", "-n", &self.namespace, "route", "show", "default"])
    }

    /// Runs a command there, to its end; gives what it said.
    pub fn run(&self, command: &[&str]) -> String {
        let by = self.by();
        let by = by.iter().map(String::as_str);
        must(&by.chain(command.iter().copied()).collect::<Vec<_>>())
    }

    /// A command that runs there.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let by = self.by();
        let mut command = Command::new(&by[0]);
        command.args(&by[1..]).arg(program);
        command
    }

    /// What a command begins with that runs there.
    pub(crate) fn by(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.namespace].map(str::to_owned)
    }
}

fn must(words: &[&str]) -> String {
    run(words).unwrap_or_else(|why| panic!("{why}"))
}

fn run(words: &[&str]) -> Result<String, String> {
    let (program, args) = words.split_first().expect("a command");
    let done = Command::new(program).args(args).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match done.status.success() {
        true => Ok(said(&done.stdout)),
        false => Err(format!("{}: {}", words.join(" "), said(&done.stderr))),
    }
}
