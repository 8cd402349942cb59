//! A TCP proxy between a node and the relay: it can cut, delay and record.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::relay::port_of;

/// A way to one relay. Give [`Link::address`] to a node in place of the relay's own.
pub struct Link {
    address: String,
    wire: Arc<Wire>,
}

/// What the threads of a link share.
#[derive(Default)]
struct Wire {
    target: u16,
    cut: AtomicBool,
    ended: AtomicBool,
    delay_ms: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    recorded: Mutex<Vec<u8>>,
}

impl Link {
    /// A link to the relay at the multiaddr `relay`.
    pub(crate) fn to(relay: &str) -> Self {
        let target = port_of(relay);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("the port").port();
        let address = relay.replace(&format!("/tcp/{target}/"), &format!("/tcp/{port}/"));
        let wire = Arc::new(Wire { target, ..Wire::default() });
        let shared = wire.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                shared.join_up(stream);
            }
        });
        Self { address, wire }
    }

    /// The relay's multiaddr by way of this link.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends every connection, and refuses new ones until [`Link::mend`].
    pub fn cut(&self) {
        self.wire.cut.store(true, Ordering::SeqCst);
        self.wire.close_all();
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.wire.cut.store(false, Ordering::SeqCst);
    }

    /// Holds each byte back for `delay`, in each direction.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).expect("a short delay");
        self.wire.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Every byte that went through, both ways, as it came.
    #[must_use]
    pub fn recording(&self) -> Vec<u8> {
        self.wire.recorded.lock().expect("recording").clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wire.ended.store(true, Ordering::SeqCst);
        self.wire.close_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", port_of(&self.address)));
    }
}

impl Wire {
    fn join_up(self: &Arc<Self>, near: TcpStream) {
        if self.cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        let pairs = [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())];
        self.open.lock().expect("open").extend([near, far]);
        for (from, to) in pairs {
            let (Ok(from), Ok(to)) = (from, to) else { return };
            let _ = to.set_nodelay(true);
            self.carry(from, to);
        }
        if self.cut.load(Ordering::SeqCst) {
            self.close_all();
        }
    }

    /// Carries bytes one way: one thread reads and stamps, one writes when it is time.
    fn carry(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream) {
        let queue = Arc::new(Queue::default());
        let (wire, incoming) = (self.clone(), queue.clone());
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let bytes = &buffer[..read];
                wire.recorded.lock().expect("recording").extend_from_slice(bytes);
                let delay = Duration::from_millis(wire.delay_ms.load(Ordering::SeqCst));
                incoming.push(Instant::now() + delay, bytes.to_vec());
            }
            incoming.push(Instant::now(), Vec::new());
        });
        thread::spawn(move || {
            loop {
                let (due, bytes) = queue.pop();
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if bytes.is_empty() || to.write_all(&bytes).is_err() {
                    let _ = to.shutdown(Shutdown::Both);
                    return;
                }
            }
        });
    }

    fn close_all(&self) {
        for stream in self.open.lock().expect("open").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Bytes on their way, at most [`ON_THE_WAY`] pieces.
#[derive(Default)]
struct Queue {
    pieces: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    changed: Condvar,
}

/// Pieces of at most 16 KiB that one direction holds back.
const ON_THE_WAY: usize = 256;

impl Queue {
    fn push(&self, due: Instant, bytes: Vec<u8>) {
        let mut pieces = self
            .changed
            .wait_while(self.pieces.lock().expect("queue"), |pieces| pieces.len() >= ON_THE_WAY)
            .expect("queue");
        pieces.push_back((due, bytes));
        self.changed.notify_all();
    }

    fn pop(&self) -> (Instant, Vec<u8>) {
        let mut pieces = self
            .changed
            .wait_while(self.pieces.lock().expect("queue"), |pieces| pieces.is_empty())
            .expect("queue");
        let first = pieces.pop_front().expect("not empty");
        self.changed.notify_all();
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..read]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    fn ask(link: &Link) -> Option<[u8; 4]> {
        let mut stream = TcpStream::connect(("127.0.0.1", port_of(link.address()))).ok()?;
        stream.write_all(b"ping").ok()?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).ok()?;
        Some(answer)
    }

    #[test]
    fn a_link_carries_records_cuts_and_mends() {
        let link = Link::to(&format!("/ip4/127.0.0.1/tcp/{}/p2p/12D3", echo()));
        assert!(link.address().ends_with("/p2p/12D3"));
        assert_eq!(ask(&link), Some(*b"ping"));
        assert_eq!(link.recording(), b"pingping");
        link.cut();
        assert_eq!(ask(&link), None);
        link.mend();
        assert_eq!(ask(&link), Some(*b"ping"));
    }

    #[test]
    fn a_delayed_link_holds_bytes_back_both_ways() {
        let link = Link::to(&format!("/ip4/127.0.0.1/tcp/{}/p2p/12D3", echo()));
        link.delay(Duration::from_millis(40));
        let start = Instant::now();
        assert_eq!(ask(&link), Some(*b"ping"));
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
}
