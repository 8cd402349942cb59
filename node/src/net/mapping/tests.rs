//! The task beside a router of the test's own, on loopback, that speaks PCP and NAT-PMP.

mod igd;
mod upnp;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::SystemTime,
};

use libp2p::{PeerId, multiaddr::Protocol};
use tempfile::TempDir;
use tokio::{net::UdpSocket, time::timeout};

use self::igd::Igd;
use super::*;

const PATIENCE: Duration = Duration::from_secs(120);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(11, 78, 0, 2);
const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// How the router behaves.
const PCP: u8 = 0;
const NAT_PMP: u8 = 1;
const PRIVATE: u8 = 2;
const GARBAGE_FIRST: u8 = 3;
const REFUSES_UDP: u8 = 4;
const SILENT: u8 = 5;
const SILENT_ON_UDP: u8 = 6;
/// It knows neither PCP nor NAT-PMP, and says so.
const UNSPOKEN: u8 = 7;

/// The version of no language: all that came before it was sent before.
const MARK: u8 = 9;

/// What it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    version: u8,
    transport: u8,
    port: u16,
    lifetime: u32,
    /// All zero where it is not PCP's.
    nonce: [u8; 12],
    from: Ipv4Addr,
}

struct Router {
    port: u16,
    /// Of PCP, or NAT-PMP's, which is asked after it.
    version: u8,
    mode: Arc<AtomicU8>,
    asked: mpsc::Receiver<Question>,
}

impl Router {
    async fn new(mode: u8) -> Self {
        let socket = UdpSocket::bind((OWN, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let version = if mode == NAT_PMP { 0 } else { 2 };
        let mode = Arc::new(AtomicU8::new(mode));
        let (told, asked) = mpsc::channel(64);
        let behaves = mode.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1100];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let mode = behaves.load(Ordering::Relaxed);
                let std::net::IpAddr::V4(ip) = from.ip() else { panic!("{from}") };
                let question = question(&buffer[..len], ip);
                if let Some(question) = question
                    && told.send(question).await.is_err()
                {
                    return;
                }
                let is_udp = question.is_some_and(|question| question.transport == 17);
                if mode == SILENT || (mode == SILENT_ON_UDP && is_udp) {
                    continue;
                }
                let Some(answer) = answer(&buffer[..len], mode) else { continue };
                if mode == GARBAGE_FIRST {
                    let forged = [2, 0x81, 0, 2, 0, 0, 0, 0];
                    for garbage in
                        [&[][..], &[0], &[2, 0x81], &[7; 60], &answer[..59], &forged, &[0, 0, 0, 0]]
                    {
                        socket.send_to(garbage, from).await.unwrap();
                    }
                }
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self { port, version, mode, asked }
    }

    fn behaves(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    async fn next(&mut self) -> Question {
        timeout(PATIENCE, self.asked.recv()).await.unwrap().unwrap()
    }

    /// Passes over what it was asked up to now, and what is still under way of it.
    async fn drained(&mut self) {
        let socket = UdpSocket::bind((OWN, 0)).await.unwrap();
        socket.send_to(&[MARK], (OWN, self.port)).await.unwrap();
        while self.next().await.version != MARK {}
    }

    /// The next question for so long.
    async fn next_for(&mut self, lifetime: u32) -> Question {
        loop {
            let next = self.next().await;
            if (next.version, next.lifetime) == (self.version, lifetime) {
                return next;
            }
        }
    }

    /// The next questions for TCP and UDP, in whichever order; each is one question, however often it was sent.
    async fn next_two(&mut self, lifetime: u32) -> [Question; 2] {
        let mut all: Vec<Question> = Vec::new();
        while all.len() < 2 {
            let next = self.next_for(lifetime).await;
            if !all.contains(&next) {
                all.push(next);
            }
        }
        all.sort_by_key(|question| question.transport);
        assert_eq!([all[0].transport, all[1].transport], [6, 17], "{all:?}");
        [all[0], all[1]]
    }
}

fn question(packet: &[u8], from: Ipv4Addr) -> Option<Question> {
    let pair = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let long = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let (version, transport, port, lifetime, nonce) = match packet {
        [0, 0] => return None,
        [MARK] => (MARK, 0, 0, 0, [0; 12]),
        [0, operation, ..] => (0, if *operation == 1 { 17 } else { 6 }, pair(4), long(8), [0; 12]),
        _ => (2, packet[36], pair(40), long(4), packet[24..36].try_into().unwrap()),
    };
    Some(Question { version, transport, port, lifetime, nonce, from })
}

fn answer(packet: &[u8], mode: u8) -> Option<Vec<u8>> {
    match (packet, mode) {
        ([2, ..], NAT_PMP) => Some(vec![0, 129, 0, 1]),
        ([0, ..], UNSPOKEN) => Some(vec![0, packet[1] + 128, 0, 1, 0, 0, 0, 0]),
        ([0, ..], REFUSES_UDP) => Some(vec![0, packet[1] + 128, 0, 2, 0, 0, 0, 0]),
        ([0, 0], _) => {
            let mut answer = vec![0, 128, 0, 0, 0, 0, 0, 1];
            answer.extend(OUTSIDE.octets());
            Some(answer)
        }
        ([0, operation, ..], _) => {
            let mut answer = vec![0, 128 + operation, 0, 0, 0, 0, 0, 1];
            answer.extend(&packet[4..6]);
            answer.extend(50_000_u16.to_be_bytes());
            answer.extend(&packet[8..12]);
            Some(answer)
        }
        ([2, ..], _) => {
            let mut answer = packet.to_vec();
            answer[1] |= 0x80;
            let is_asked = answer[4..8] != [0; 4];
            answer[3] = match mode {
                REFUSES_UDP if packet[36] == 17 && is_asked => 2,
                UNSPOKEN => 1,
                _ => 0,
            };
            answer[8..24].fill(0);
            let ip = if mode == PRIVATE { [192, 168, 9, 9] } else { OUTSIDE.octets() };
            answer[54..56].fill(0xff);
            answer[56..].copy_from_slice(&ip);
            Some(answer)
        }
        _ => None,
    }
}

/// A machine that leaves by that router, and the data directory of its node.
struct Home {
    router: Router,
    /// It says nothing before it has a name.
    igd: Igd,
    gateway: Arc<Mutex<Result<Gateway, Failure>>>,
    /// How long the router has.
    round: Duration,
    dir: TempDir,
    me: PeerId,
}

fn gateway(own: Ipv4Addr) -> Gateway {
    Gateway { ip: OWN, own, device: "lo".into() }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis().try_into().unwrap())
}

impl Home {
    async fn new(mode: u8) -> Self {
        let gateway = Arc::new(Mutex::new(Ok(gateway(OWN))));
        let (router, igd) = (Router::new(mode).await, Igd::new().await);
        let (dir, me) = (TempDir::new().unwrap(), PeerId::random());
        Self { router, igd, gateway, round: PATIENCE, dir, me }
    }

    /// Starts a task for it, without anything to map yet.
    fn idle(&self, aim: Aim) -> Mapping {
        let gateway = Arc::clone(&self.gateway);
        let find = Box::new(move || gateway.lock().unwrap().clone());
        let (look, leave) = (Duration::from_millis(100), PATIENCE / 2);
        let (clock, port, search) = (Box::new(now), self.router.port, self.igd.search);
        let (asking, round) = (PATIENCE, self.round);
        let here = Here { find, clock, port, search, look, asking, round, leave };
        spawn_at(rand_seed(), Leads::of(self.dir.path()), aim, here)
    }

    /// Starts a task that maps.
    fn mapping(&self) -> Mapping {
        self.mapping_seen_at(&[])
    }

    /// Where relays see the machine at these addresses.
    fn mapping_seen_at(&self, outside: &[Ipv4Addr]) -> Mapping {
        let mapping = self.idle(Aim::Map);
        let listening = [
            "/ip4/127.0.0.1/tcp/4408",
            "/ip4/127.0.0.2/tcp/4408",
            "/ip4/10.0.0.9/tcp/9",
            "/ip4/127.0.0.1/udp/4408/quic-v1",
            "/ip4/127.0.0.2/udp/4408/quic-v1",
        ];
        let at = |text: &str| text.parse::<Multiaddr>().unwrap().with(Protocol::P2p(self.me));
        let listening = listening.into_iter().map(at).collect();
        mapping.wanted.send_replace(Wanted { listening, changes: 0, outside: outside.to_vec() });
        mapping
    }

    fn is(&self, gateway: Result<Gateway, Failure>) {
        *self.gateway.lock().unwrap() = gateway;
    }

    fn is_clean(&self) -> bool {
        Leads::of(self.dir.path()).is_empty()
    }
}

fn rand_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    seed
}

impl Mapping {
    async fn standing(&mut self) -> Standing {
        timeout(PATIENCE, self.standings.recv()).await.unwrap().unwrap()
    }

    async fn stands(&mut self) -> Language {
        match self.standing().await {
            Standing::Stands(language, addresses) if addresses.len() == 2 => language,
            other => panic!("{other:?}"),
        }
    }

    fn moved(&self) {
        self.wanted.send_modify(|wanted| wanted.changes += 1);
    }

    /// Ends it; what was told since.
    async fn end(self) -> Vec<Standing> {
        let Self { wanted, mut standings, task, .. } = self;
        drop(wanted);
        timeout(PATIENCE, task).await.unwrap().unwrap();
        let mut rest = Vec::new();
        while let Some(standing) = standings.recv().await {
            rest.push(standing);
        }
        rest
    }
}

#[tokio::test]
async fn both_ports_are_mapped_and_taken_back_at_the_end() {
    for (mode, language) in [(PCP, Language::Pcp), (NAT_PMP, Language::NatPmp)] {
        let mut home = Home::new(mode).await;
        let mut mapping = home.mapping();
        let port = if mode == PCP { 4408 } else { 50_000 };
        let outside =
            [format!("/ip4/11.78.0.2/tcp/{port}"), format!("/ip4/11.78.0.2/udp/{port}/quic-v1")];
        let outside =
            outside.map(|text| text.parse::<Multiaddr>().unwrap().with(Protocol::P2p(home.me)));
        assert_eq!(mapping.standing().await, Standing::Stands(language, outside.to_vec()));
        assert!(!home.is_clean(), "it is kept, in case that nobody is there to take it back");
        assert_eq!(mapping.end().await, []);
        for lifetime in [LIFETIME, 0] {
            let asked = home.router.next_two(lifetime).await;
            assert_eq!(asked.map(|it| it.port), [4408; 2]);
        }
        assert!(home.is_clean());
    }
}

#[tokio::test]
async fn in_another_network_it_is_asked_anew_and_what_has_not_changed_is_not_told_again() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    assert_eq!(mapping.stands().await, Language::Pcp);
    let first = home.router.next_two(LIFETIME).await;
    // What was sent twice is of this round.
    home.router.drained().await;
    mapping.moved();
    assert_eq!(home.router.next_two(LIFETIME).await, first, "by the same numbers of chance");
    // By PCP the router is behind another one from now on: that is the next to be told.
    home.router.behaves(PRIVATE);
    mapping.moved();
    assert_eq!(mapping.stands().await, Language::NatPmp);
}

#[tokio::test]
async fn an_address_that_is_not_the_internets_is_given_back_and_told_to_nobody() {
    let mut home = Home::new(PRIVATE).await;
    let mut mapping = home.mapping();
    let asked = home.router.next().await;
    assert_eq!((asked.version, asked.transport, asked.lifetime), (2, 6, LIFETIME));
    // It speaks NAT-PMP, too, in which it says something else.
    assert_eq!(mapping.stands().await, Language::NatPmp);
    let back = home.router.next_for(0).await;
    assert_eq!((back.transport, back.nonce), (6, asked.nonce));
}

#[tokio::test]
async fn what_is_no_answer_is_passed_over_and_so_is_a_no_to_nobody_knows_what() {
    let home = Home::new(GARBAGE_FIRST).await;
    assert_eq!(home.mapping().stands().await, Language::Pcp);
}

#[tokio::test]
async fn a_router_that_says_nothing_and_none_at_all_are_told() {
    let home = Home::new(SILENT).await;
    assert_eq!(home.mapping().standing().await, Standing::Fails(Failure::Silent));
    home.is(Err(Failure::NoRouter));
    let mut none = home.mapping();
    assert_eq!(none.standing().await, Standing::Fails(Failure::NoRouter));
    // The route comes after the address: nobody waits for long.
    home.router.behaves(PCP);
    home.is(Ok(gateway(OWN)));
    assert_eq!(none.stands().await, Language::Pcp);
    let mut nothing = home.idle(Aim::Map);
    nothing.wanted.send_replace(Wanted { changes: 1, ..Wanted::default() });
    assert_eq!(nothing.standing().await, Standing::Fails(Failure::NothingListens));
}

#[tokio::test]
async fn what_may_have_been_granted_in_silence_is_asked_for_again_by_the_same_number() {
    let mut home = Home::new(SILENT).await;
    let mapping = home.mapping();
    let asked = home.router.next().await;
    assert_eq!((asked.version, asked.transport, asked.lifetime), (2, 6, LIFETIME));
    // It may stand: it is taken back, and asked for again. By another number a router that has granted it would refuse.
    assert_eq!(home.router.next_for(0).await.nonce, asked.nonce);
    mapping.moved();
    assert_eq!(home.router.next_for(LIFETIME).await, asked);
    home.router.behaves(PCP);
    mapping.end().await;
    assert!(home.is_clean());
}

#[tokio::test]
async fn before_a_tunnel_what_stands_is_taken_back_though_no_address_has_changed() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    mapping.stands().await;
    let asked = home.router.next_two(LIFETIME).await;
    home.is(Err(Failure::Tunnel));
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Tunnel));
    let back = home.router.next_two(0).await;
    assert_eq!(back.map(|it| it.nonce), asked.map(|it| it.nonce));
    mapping.end().await;
    assert!(home.is_clean());
}

#[tokio::test]
async fn a_tunnel_that_comes_while_the_router_is_asked_cuts_the_round() {
    let mut home = Home::new(SILENT).await;
    let mut mapping = home.mapping();
    home.router.next_for(LIFETIME).await;
    home.is(Err(Failure::Tunnel));
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Tunnel), "that is told first");
    home.router.behaves(PCP);
    mapping.end().await;
    assert!(home.is_clean());
}

#[tokio::test]
async fn what_the_router_does_not_take_back_is_tried_again_and_at_the_end() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    mapping.stands().await;
    home.router.behaves(SILENT);
    home.is(Err(Failure::Tunnel));
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Tunnel));
    home.router.next_two(0).await;
    home.router.behaves(PCP);
    mapping.end().await;
    assert!(home.is_clean());
}

#[tokio::test]
async fn a_router_that_refuses_once_to_renew_leaves_what_stands() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    mapping.stands().await;
    home.router.next_two(LIFETIME).await;
    home.router.behaves(REFUSES_UDP);
    mapping.moved();
    home.router.next_two(LIFETIME).await;
    // Another word of relays begins a round once that one is over.
    mapping.wanted.send_modify(|wanted| wanted.outside = vec![OUTSIDE]);
    home.router.next_two(LIFETIME).await;
    home.router.behaves(PCP);
    assert_eq!(mapping.end().await, [], "nobody is told otherwise");
    home.router.next_two(0).await;
    assert!(home.is_clean(), "and all of it is taken back");
}

#[tokio::test]
async fn under_another_address_it_is_another_mapping_and_the_one_before_is_taken_back() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    mapping.stands().await;
    let before = home.router.next_two(LIFETIME).await;
    let own = Ipv4Addr::new(127, 0, 0, 2);
    home.is(Ok(gateway(own)));
    let back = home.router.next_two(0).await;
    assert_eq!(back.map(|it| (it.from, it.nonce)), before.map(|it| (OWN, it.nonce)));
    let after = home.router.next_two(LIFETIME).await;
    assert_eq!(after.map(|it| it.from), [own; 2]);
    let all: BTreeSet<_> = before.iter().chain(&after).map(|it| it.nonce).collect();
    assert_eq!(all.len(), 4, "nobody is known again by a number");
}

#[tokio::test]
async fn what_was_granted_in_a_round_that_is_cut_is_taken_back_and_what_is_not_at_the_next_start() {
    let mut home = Home::new(SILENT_ON_UDP).await;
    let mapping = home.mapping();
    let asked = home.router.next_two(LIFETIME).await;
    assert_eq!(mapping.end().await, []);
    let back = home.router.next_two(0).await;
    assert_eq!(back.map(|it| it.nonce), asked.map(|it| it.nonce));
    assert!(!home.is_clean(), "for UDP nobody has confirmed it");

    home.router.behaves(PCP);
    let next = home.idle(Aim::TakeBack);
    timeout(PATIENCE, next.task).await.unwrap().unwrap();
    assert!(home.is_clean());
}

#[tokio::test]
async fn a_node_that_was_killed_renews_at_its_next_start_or_only_takes_back() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    mapping.stands().await;
    let first = home.router.next_two(LIFETIME).await;
    mapping.task.abort();
    let mut mapping = home.mapping();
    mapping.stands().await;
    assert_eq!(home.router.next_two(LIFETIME).await, first, "the very same");
    mapping.task.abort();
    let back = home.idle(Aim::TakeBack);
    timeout(PATIENCE, back.task).await.unwrap().unwrap();
    let nonces = home.router.next_two(0).await.map(|it| it.nonce);
    assert_eq!(nonces, first.map(|it| it.nonce));
    assert!(home.is_clean());
    let none = spawn(rand_seed(), home.dir.path(), Aim::TakeBack, now);
    assert!(none.is_none(), "there is nothing to take back");
}

#[tokio::test]
async fn what_relays_contradict_is_told_to_nobody() {
    let mut home = Home::new(PCP).await;
    let mut mapping = home.mapping();
    mapping.stands().await;
    let near = Ipv4Addr::new(192, 168, 1, 9);
    let elsewhere = Ipv4Addr::new(11, 79, 0, 1);
    let seen = |mapping: &Mapping, at: &[Ipv4Addr]| {
        mapping.wanted.send_modify(|wanted| wanted.outside = at.to_vec());
    };
    seen(&mapping, &[near, elsewhere]);
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Contradicted));
    home.router.next_two(0).await;
    seen(&mapping, &[near]);
    mapping.stands().await;
    seen(&mapping, &[elsewhere]);
    assert_eq!(mapping.standing().await, Standing::Fails(Failure::Contradicted));
    seen(&mapping, &[elsewhere, OUTSIDE]);
    mapping.stands().await;
}
