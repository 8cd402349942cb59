//! A network on which packets take their time, and some get lost.
//!
//! The kernels of many containers lack netem, so frames are carried by a program of the story's own, which
//! learns who is where as a switch does. Checksums and long segments stay the system's business.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use super::Machine;
use crate::PATIENCE;

/// How packets fare on a network.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How long each is under way at least.
    pub delay: Duration,
    /// How much longer it may be.
    pub jitter: Duration,
    /// Which part of them is lost, by a chance that is the same each time.
    pub loss: f64,
}

/// The program that carries them; it ends with this value.
pub(super) struct Wire {
    carrier: Child,
    told: RefCell<(ChildStdin, Receiver<String>)>,
}

impl Wire {
    pub(super) fn new(machine: &Machine, weather: Weather) -> Self {
        let Weather { delay, jitter, loss } = weather;
        let mut python = machine.command("python3");
        python.args(["-c", SWITCH, &delay.as_secs_f64().to_string()]);
        python.args([jitter.as_secs_f64().to_string(), loss.to_string()]);
        let mut carrier =
            python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let input = carrier.stdin.take().expect("its input");
        let output = BufReader::new(carrier.stdout.take().expect("its output"));
        let (says, said) = sync_channel(1);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if says.send(line).is_err() {
                    return;
                }
            }
        });
        Self { carrier, told: RefCell::new((input, said)) }
    }

    /// Carries what comes to and from this interface, too.
    pub(super) fn plug(&self, interface: &str) {
        self.tell(&format!("plug {interface}"));
    }

    /// Tells the carrier one thing; returns when it is so.
    pub(super) fn tell(&self, what: &str) {
        let (input, output) = &mut *self.told.borrow_mut();
        writeln!(input, "{what}").expect("the carrier runs");
        let said = output.recv_timeout(PATIENCE).expect("the carrier answers");
        assert_eq!(said, "done", "{what}");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.carrier.kill();
        let _ = self.carrier.wait();
    }
}

const SWITCH: &str = r#"
import heapq, random, select, socket, sys, time
delay, jitter, loss = (float(it) for it in sys.argv[1:4])
chance = random.Random(1)
ports, places, waiting, count = {}, {}, [], 0
names, slow, cuts = {}, {}, set()
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)

def plug(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    port.setsockopt(263, 15, 1)  # PACKET_VNET_HDR: checksums and segments are left to the system
    port.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    port.bind((name, 3))
    port.setblocking(False)
    ports[port.fileno()] = port
    names[name] = port.fileno()
    poll.register(port, select.POLLIN)

while True:
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        _, _, to, frame = heapq.heappop(waiting)
        try:
            ports[to].send(frame)
        except OSError:
            pass
    left = max(0, waiting[0][0] - now) * 1000 if waiting else None
    for at, _ in poll.poll(left):
        if at == sys.stdin.fileno():
            line = sys.stdin.readline()
            if not line:
                sys.exit()
            verb, one, *more = line.split()
            if verb == "plug":
                plug(one)
            elif verb == "slow":
                slow[names[one]] = float(more[0])
            elif verb == "cut":
                cuts.add(frozenset((names[one], names[more[0]])))
            elif verb == "mend":
                cuts.discard(frozenset((names[one], names[more[0]])))
            print("done", flush=True)
            continue
        try:
            frame = ports[at].recv(70000)
        except OSError:
            continue
        to, source = frame[10:16], frame[16:22]
        places[source] = at
        if chance.random() < loss:
            continue
        known = places.get(to) if not to[0] & 1 else None
        due = time.monotonic() + delay + jitter * chance.random() + slow.get(at, 0)
        for other in [known] if known is not None else ports:
            if other != at and frozenset((at, other)) not in cuts:
                count += 1
                heapq.heappush(waiting, (due + slow.get(other, 0), count, other, frame))
"#;
