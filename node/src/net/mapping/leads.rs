//! What routers may lead to this node, in memory and in the data directory.
//!
//! > A lead is noted before the router is asked for it, and forgotten when it was taken back, was refused, or has run out:
//! > a node that is killed finds at its next start what it left open.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use minicbor::{Decode, Encode};
use protocol::ids::Timestamp;
use tokio::time::Instant;

use super::{
    Ask, Gateway, LIFETIME, LIFETIMES, Language, Lease, Port, Transport, Way, gateway::is_global,
};

/// One port outside that leads to this node, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) gateway: Gateway,
    pub(super) language: Language,
    /// The router's own name, in the language that has one: others may have the same address.
    pub(super) udn: String,
    pub(super) port: Port,
    /// Outside; only the port of it counts before the router has agreed.
    pub(super) external: SocketAddrV4,
    /// Of chance, and this lead's alone.
    pub(super) nonce: [u8; 12],
    /// Until when it is good to be told, by the clock and by a time that nobody sets; zero and none before the router
    /// has agreed.
    pub(super) good: Timestamp,
    pub(super) until: Option<Instant>,
    /// When the router has forgotten it at the latest; never, where it is for ever.
    pub(super) gone: Option<Timestamp>,
    pub(super) whose: Whose,
}

/// Who told the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nobody yet.
    Nobodys,
    /// This node, which takes it back.
    Own,
    /// Somebody by hand.
    Persons,
}

/// All of them.
pub(super) struct Leads {
    all: Vec<Lead>,
    file: PathBuf,
    /// How often they were written down, and the last of these times that reached the file: who asks may be cut off, and the
    /// writing goes on.
    times: u64,
    written: Arc<Mutex<u64>>,
}

/// A lead in the file.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Row {
    #[n(0)]
    router: [u8; 4],
    #[n(1)]
    own: [u8; 4],
    #[n(2)]
    device: String,
    #[n(3)]
    language: u8,
    #[n(4)]
    udn: String,
    /// The protocol's number among those of IP, and the port here.
    #[n(5)]
    transport: u8,
    #[n(6)]
    port: u16,
    #[n(7)]
    external_ip: [u8; 4],
    #[n(8)]
    external_port: u16,
    #[cbor(n(9), with = "minicbor::bytes")]
    nonce: Vec<u8>,
    #[n(10)]
    gone: Option<Timestamp>,
}

const FILE: &str = "port-map";
/// What can't be read, as a later version may have written it.
const UNREAD: &str = "port-map.unread";
/// Leads that are kept: two at each of some networks. Of more, what ends goes first, and of that what was noted first.
const LEADS: usize = 16;
/// The longest file.
const BYTES: u64 = 64 * 1024;

impl Leads {
    /// Those of a node whose data is there.
    pub(super) fn of(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let all = match read(&file) {
            Ok(all) => all,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(_) => {
                tracing::warn!(
                    "{FILE} can't be read, and is kept as {UNREAD}: ports may stand open"
                );
                let _ = fs::rename(&file, data_dir.join(UNREAD));
                Vec::new()
            }
        };
        Self { all, file, times: 0, written: Arc::default() }
    }

    /// Notes a lead, in place of the same as it was; whether that is written down.
    pub(super) async fn note(&mut self, lead: Lead) -> bool {
        self.all.retain(|known| known.nonce != lead.nonce);
        if self.all.len() >= LEADS {
            let Some(ends) = self.all.iter().position(|known| known.gone.is_some()) else {
                return false;
            };
            self.all.remove(ends);
        }
        self.all.push(lead);
        self.keep().await
    }

    /// Forgets some.
    pub(super) async fn forget(&mut self, is_over: impl Fn(&Lead) -> bool) {
        let before = self.all.len();
        self.all.retain(|lead| !is_over(lead));
        if self.all.len() != before {
            self.keep().await;
        }
    }

    /// Forgets what its router has forgotten; a clock that leaps ends nothing that was granted since the start.
    pub(super) async fn run_out(&mut self, now: Timestamp) {
        let stands = |lead: &Lead| lead.until.is_some_and(|until| until > Instant::now());
        self.forget(|lead| lead.gone.is_some_and(|gone| gone <= now) && !stands(lead)).await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lead> {
        self.all.iter()
    }

    /// The lead of a port at that router, in the language of this way.
    pub(super) fn get(&self, gateway: &Gateway, way: &Way, port: Port) -> Option<&Lead> {
        let is_meant =
            |lead: &&Lead| (way.language(), way.udn()) == (lead.language, lead.udn.as_str());
        let mut all = self.all.iter().rev().filter(is_meant);
        all.find(|lead| lead.gateway == *gateway && lead.port == port)
    }

    /// The leads of all these ports at one router there, in one language, where each of them is good to be told; none
    /// otherwise.
    pub(super) fn good(&self, gateway: &Gateway, ports: &[Port], now: Timestamp) -> Vec<Lead> {
        let is_good =
            |lead: &&Lead| lead.gateway == *gateway && lead.is_good(now) && lead.is_global();
        let good: Vec<&Lead> = self.all.iter().filter(is_good).collect();
        let all_beside = |one: &&Lead| {
            let of = |port: &Port| {
                let is_meant = |lead: &&&Lead| {
                    (lead.language, &lead.udn, lead.port) == (one.language, &one.udn, *port)
                };
                good.iter().find(is_meant).map(|lead| (*lead).clone())
            };
            ports.iter().map(of).collect::<Option<Vec<Lead>>>()
        };
        good.iter().rev().find_map(all_beside).unwrap_or_default()
    }

    /// Writes them down, and says whether it could; a person's own are not this node's to remember.
    async fn keep(&mut self) -> bool {
        let own = self.all.iter().filter(|lead| lead.whose == Whose::Own);
        let rows: Vec<Row> = own.map(Row::from).collect();
        self.times += 1;
        let (file, times, written) = (self.file.clone(), self.times, Arc::clone(&self.written));
        let write = move || {
            let mut last = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *last > times {
                return Ok(());
            }
            *last = times;
            write(&file, &rows)
        };
        let kept = tokio::task::spawn_blocking(write).await;
        let is_kept = matches!(kept, Ok(Ok(())));
        if !is_kept {
            tracing::warn!("{FILE} can't be written: what it says is out of date");
        }
        is_kept
    }
}

impl Lead {
    /// As it is asked for.
    pub(super) fn ask(&self, lease: Lease) -> Ask {
        let Self { port, external, nonce, .. } = *self;
        let is_noted = self.whose == Whose::Own;
        Ask { port, external, lease, nonce, own: self.gateway.own, is_noted }
    }

    /// The router has agreed, for so many seconds.
    pub(super) fn granted(&mut self, external: SocketAddrV4, for_s: Option<u32>, now: Timestamp) {
        let after = |seconds: u32| now.plus_ms(u64::from(seconds) * 1000);
        self.external = external;
        let told = for_s.unwrap_or(LIFETIME).clamp(*LIFETIMES.start(), *LIFETIMES.end());
        self.good = after(told);
        self.until = Some(Instant::now() + Duration::from_secs(told.into()));
        self.gone = for_s.map(|seconds| after(seconds.max(told)));
    }

    /// Whether the time is not over for which it can be told.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.good > now && self.until.is_some_and(|until| until > Instant::now())
    }

    /// Whether it is an address of the internet's.
    pub(super) fn is_global(&self) -> bool {
        is_global(*self.external.ip()) && self.external.port() != 0
    }
}

impl From<&Lead> for Row {
    fn from(lead: &Lead) -> Self {
        Self {
            router: lead.gateway.ip.octets(),
            own: lead.gateway.own.octets(),
            device: lead.gateway.device.clone(),
            language: number(lead.language),
            udn: lead.udn.clone(),
            transport: lead.port.transport.number(),
            port: lead.port.number,
            external_ip: lead.external.ip().octets(),
            external_port: lead.external.port(),
            nonce: lead.nonce.to_vec(),
            gone: lead.gone,
        }
    }
}

impl Row {
    /// The lead that it was; what has been told of it counts no more.
    fn lead(self) -> Option<Lead> {
        let all = [Language::Pcp, Language::NatPmp, Language::Upnp];
        let language = all.into_iter().find(|it| number(*it) == self.language)?;
        let all = [Transport::Tcp, Transport::Udp];
        let transport = all.into_iter().find(|it| it.number() == self.transport)?;
        let [ip, own] = [self.router, self.own].map(Ipv4Addr::from);
        let external = SocketAddrV4::new(self.external_ip.into(), self.external_port);
        Some(Lead {
            gateway: Gateway { ip, own, device: self.device },
            language,
            udn: self.udn,
            port: Port { transport, number: self.port },
            external,
            nonce: self.nonce.try_into().ok()?,
            good: Timestamp(0),
            until: None,
            gone: self.gone,
            whose: Whose::Own,
        })
    }
}

/// A language in the file.
fn number(language: Language) -> u8 {
    match language {
        Language::NatPmp => 0,
        Language::Upnp => 1,
        Language::Pcp => 2,
    }
}

fn read(file: &Path) -> io::Result<Vec<Lead>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(BYTES).read_to_end(&mut bytes)?;
    let rows: Vec<Row> = minicbor::decode(&bytes).map_err(|_| invalid())?;
    rows.into_iter().map(Row::lead).collect::<Option<_>>().ok_or_else(invalid)
}

/// Writes the file so that it is there whole or as it was; none, where there is nothing to keep.
fn write(file: &Path, rows: &[Row]) -> io::Result<()> {
    if rows.is_empty() {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut bytes = Vec::new();
    minicbor::encode(rows, &mut bytes).map_err(|_| invalid())?;
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(dir)?;
    draft.write_all(&bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    fs::File::open(dir)?.sync_all()
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(language: Language, gone: Option<Timestamp>, nonce: u8) -> Lead {
        let ip = Ipv4Addr::new(192, 168, 1, 1);
        let own = Ipv4Addr::new(192, 168, 1, 7);
        Lead {
            gateway: Gateway { ip, own, device: "eth0".into() },
            language,
            udn: String::new(),
            port: Port { transport: Transport::Udp, number: 4408 },
            external: SocketAddrV4::new(Ipv4Addr::new(11, 78, 0, 2), 50_000),
            nonce: [nonce; 12],
            good: Timestamp(0),
            until: None,
            gone,
            whose: Whose::Own,
        }
    }

    #[tokio::test]
    async fn what_is_noted_is_there_at_the_next_start_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut leads = Leads::of(dir.path());
        let languages = [Language::Pcp, Language::NatPmp, Language::Upnp];
        let gone = [Some(Timestamp(5)), Some(Timestamp(9)), None];
        for (nonce, (language, gone)) in (1..).zip(languages.into_iter().zip(gone)) {
            let udn = if language == Language::Upnp { "uuid:1" } else { "" };
            leads.note(Lead { udn: udn.into(), ..lead(language, gone, nonce) }).await;
        }
        let by_hand = Lead { whose: Whose::Persons, ..lead(Language::Upnp, None, 9) };
        leads.note(by_hand).await;
        let mut again = Leads::of(dir.path());
        assert_eq!(again.all, leads.all[..3]);
        again.run_out(Timestamp(7)).await;
        assert_eq!(Leads::of(dir.path()).all, leads.all[1..3]);
        again.forget(|_| true).await;
        assert!(!dir.path().join(FILE).exists());
        assert!(Leads::of(dir.path()).is_empty());
    }

    #[tokio::test]
    async fn of_too_many_what_ends_is_forgotten_and_never_what_stands_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut leads = Leads::of(dir.path());
        let all = u8::try_from(LEADS).unwrap();
        for nonce in 0..=all {
            // Who grants a port for years does not drive out what another grants for an hour.
            let gone = (nonce != 0).then_some(Timestamp(1000 - u64::from(nonce)));
            assert!(leads.note(lead(Language::Pcp, gone, nonce)).await);
        }
        let nonces = |leads: &Leads| leads.iter().map(|lead| lead.nonce[0]).collect::<Vec<u8>>();
        let kept: Vec<u8> = [0].into_iter().chain(2..=all).collect();
        assert_eq!(nonces(&leads), kept);
        for nonce in 2..=all {
            assert!(leads.note(lead(Language::Pcp, None, nonce)).await);
        }
        assert!(!leads.note(lead(Language::Pcp, None, 99)).await, "there is no place for it");
        assert_eq!((nonces(&leads), nonces(&Leads::of(dir.path()))), (kept.clone(), kept));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_and_what_cannot_be_read_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let ever = lead(Language::Pcp, None, 1);
        let mut known = Vec::new();
        minicbor::encode([Row::from(&ever)], &mut known).unwrap();
        let later = Row { language: 9, ..Row::from(&ever) };
        let mut of_later = Vec::new();
        minicbor::encode([Row::from(&ever), later], &mut of_later).unwrap();
        let [file, unread] = [FILE, UNREAD].map(|name| dir.path().join(name));
        for damaged in [&b""[..], b"any", &[0xff; 100], &[0x81, 0x80], &of_later[..]] {
            fs::write(&file, damaged).unwrap();
            assert!(Leads::of(dir.path()).is_empty());
            assert_eq!(fs::read(&unread).unwrap(), damaged);
        }
        fs::write(&file, known).unwrap();
        assert_eq!(Leads::of(dir.path()).all, std::slice::from_ref(&ever));
        fs::remove_file(&file).unwrap();
        // In its place is what no file can take the place of.
        fs::create_dir(&file).unwrap();
        fs::write(file.join("any"), []).unwrap();
        let mut leads = Leads { all: Vec::new(), file, times: 0, written: Arc::default() };
        assert!(!leads.note(ever).await);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_ends_nothing_that_stands_and_tells_nothing_that_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut leads = Leads::of(dir.path());
        let mut granted = lead(Language::Pcp, Some(Timestamp(0)), 1);
        granted.granted(granted.external, Some(3600), Timestamp(0));
        leads.note(granted.clone()).await;
        leads.run_out(Timestamp(u64::MAX)).await;
        assert!(!leads.is_empty(), "it was granted just now");
        assert!(granted.is_good(Timestamp(0)) && !granted.is_good(Timestamp(3_600_000)));
        granted.until = Some(Instant::now());
        assert!(!granted.is_good(Timestamp(0)), "its time is over, whatever the clock says");
        leads.note(granted).await;
        leads.run_out(Timestamp(u64::MAX)).await;
        assert!(leads.is_empty());
    }

    #[test]
    fn a_time_that_is_granted_is_kept_within_bounds() {
        let granted = |seconds: Option<u32>| {
            let mut lead = lead(Language::Pcp, None, 1);
            lead.granted(lead.external, seconds, Timestamp(0));
            (lead.good.0 / 1000, lead.gone.map(|gone| gone.0 / 1000))
        };
        assert_eq!(granted(Some(0)), (120, Some(120)));
        assert_eq!(granted(Some(3600)), (3600, Some(3600)));
        assert_eq!(granted(Some(86_400)), (3600, Some(86_400)), "told for an hour, kept for a day");
        assert_eq!(granted(None), (3600, None));
    }
}
