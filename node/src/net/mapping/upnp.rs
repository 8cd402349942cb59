//! UPnP's Internet Gateway Device: found by a question on the local network, asked over HTTP.
//!
//! > The router alone is believed: what others answer is dropped, and no address that an answer names is gone
//! > to but the router's own. Each answer is read up to a bound, and in a bounded time. What somebody told the router by
//! > hand is neither changed nor taken back.

mod search;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{net::TcpSocket, time::timeout};

pub(super) use self::search::{Place, SEARCH_PORT, find};
use super::{Ask, Failure, Lease, Look, Reply, Transport, gateway::Gateway, xml};

/// Which router it is, and where it takes orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Its own name: no other router has the same, if makers do as they should.
    pub(super) udn: String,
    /// Where it describes itself so.
    pub(super) place: Place,
    port: u16,
    path: String,
    service: &'static str,
    /// How long one exchange may take.
    asking: Duration,
}

/// Whose a port outside is already.
enum Owner {
    Nobody,
    /// This node: it was told by it, now or before it was killed.
    Node,
    /// Who had the router pass it on to this node by hand.
    Person,
    Others,
    /// The router doesn't say. It refuses what it will.
    Unsaid,
}

/// Services that map ports.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// The longest body, path, name and head of an answer.
const BODY_BYTES: usize = 64 * 1024;
const PATH_BYTES: usize = 1024;
const UDN_BYTES: usize = 128;
const HEAD_BYTES: usize = 16 * 1024;
/// How long one exchange may take.
pub(super) const ASKING: Duration = Duration::from_secs(5);
/// What routers say that know no such mapping.
const NO_SUCH: u16 = 714;
/// What they say that can't do what was asked, but something near it: a port that another has, by UPnP or by the router's
/// own page; no mapping that ends.
const CONFLICT: u16 = 718;
const CONFLICT_ELSEWHERE: u16 = 729;
const PERMANENT_ALONE: u16 = 725;

/// Looks at which address the router is outside, and whose the port is there.
pub(super) async fn look(gateway: &Gateway, device: &Device, ask: &Ask) -> Result<Look, Failure> {
    let answer = order(gateway, device, "GetExternalIPAddress", "").await?;
    let answer = answer.map_err(|_| Failure::Refused)?;
    let ip = xml::text(&answer, "NewExternalIPAddress").ok_or(Failure::Garbled)?;
    if ip.is_empty() {
        return Err(Failure::NotGlobal);
    }
    let ip: Ipv4Addr = ip.parse().map_err(|_| Failure::Garbled)?;
    Ok(match owner(gateway, device, ask).await? {
        Owner::Nobody | Owner::Unsaid => Look::Free(Some(ip)),
        Owner::Node => Look::Own(ip),
        Owner::Person => Look::Stood(SocketAddrV4::new(ip, ask.external.port())),
        Owner::Others => Look::Taken,
    })
}

/// Asks for a mapping of a port that is nobody else's.
pub(super) async fn map(gateway: &Gateway, device: &Device, ask: &Ask) -> Result<Reply, Failure> {
    let seconds = match ask.lease {
        Lease::Ever => 0,
        lease @ (Lease::Hour | Lease::Over) => lease.seconds(),
    };
    let args = format!(
        "{}<NewInternalPort>{}</NewInternalPort><NewInternalClient>{}</NewInternalClient>\
         <NewEnabled>1</NewEnabled><NewPortMappingDescription>{}</NewPortMappingDescription>\
         <NewLeaseDuration>{seconds}</NewLeaseDuration>",
        outside(ask),
        ask.port.number,
        ask.own,
        name(ask)
    );
    match order(gateway, device, "AddPortMapping", &args).await? {
        Ok(_) => Ok(Reply::Granted(ask.external, (seconds != 0).then_some(seconds))),
        Err(CONFLICT | CONFLICT_ELSEWHERE) => Ok(Reply::Taken),
        Err(PERMANENT_ALONE) => Ok(Reply::OnlyForEver),
        Err(_) => Err(Failure::Refused),
    }
}

/// Takes a mapping back, if it is this node's. That is done where the router says that it has none, tells the whole entry of
/// another's, or has deleted it.
pub(super) async fn take_back(
    gateway: &Gateway,
    device: &Device,
    ask: &Ask,
) -> Result<(), Failure> {
    if !matches!(owner(gateway, device, ask).await?, Owner::Node | Owner::Unsaid) {
        return Ok(());
    }
    match order(gateway, device, "DeletePortMapping", &outside(ask)).await? {
        Ok(_) | Err(NO_SUCH) => Ok(()),
        Err(_) => Err(Failure::Refused),
    }
}

/// Whose the port outside is that is asked for.
async fn owner(gateway: &Gateway, device: &Device, ask: &Ask) -> Result<Owner, Failure> {
    let answer = order(gateway, device, "GetSpecificPortMappingEntry", &outside(ask)).await?;
    let entry = match answer {
        Ok(entry) => entry,
        Err(NO_SUCH) => return Ok(Owner::Nobody),
        Err(_) => return Ok(Owner::Unsaid),
    };
    let field = |name: &str| xml::text(&entry, name).unwrap_or_default();
    // Any page at all may be answered to an order: one without these is no entry.
    let client: Ipv4Addr = field("NewInternalClient").parse().map_err(|_| Failure::Garbled)?;
    let number: u16 = field("NewInternalPort").parse().map_err(|_| Failure::Garbled)?;
    if (client, number) != (ask.own, ask.port.number) {
        return Ok(Owner::Others);
    }
    // What ends by itself is nobody's who has written it down; and some routers keep no names.
    let ends = !matches!(field("NewLeaseDuration").as_str(), "" | "0");
    let named = field("NewPortMappingDescription");
    let is_own = ends || named == name(ask) || named.is_empty() && ask.is_noted;
    Ok(if is_own { Owner::Node } else { Owner::Person })
}

/// What the mapping is called, on the router's own page too: no person names one so.
fn name(ask: &Ask) -> String {
    let mut number = [0; 16];
    number[4..].copy_from_slice(&ask.nonce);
    format!("Wattle {:024x}", u128::from_be_bytes(number))
}

/// A port outside, as orders name it.
fn outside(ask: &Ask) -> String {
    let protocol = match ask.port.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    };
    format!(
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>{}</NewExternalPort><NewProtocol>{protocol}</NewProtocol>",
        ask.external.port()
    )
}

/// One order; what the router says no with is its own number.
async fn order(
    gateway: &Gateway,
    device: &Device,
    action: &str,
    args: &str,
) -> Result<Result<String, u16>, Failure> {
    let service = device.service;
    let body = format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} \
         xmlns:u=\"{service}\">{args}</u:{action}></s:Body></s:Envelope>\r\n"
    );
    let request = Request::builder()
        .method(Method::POST)
        .uri(device.path.as_str())
        .header(CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
        .header("SOAPAction", format!("\"{service}#{action}\""))
        .body(Full::from(body));
    let (status, text) = exchange(gateway, device.port, device.asking, request).await?;
    if status == StatusCode::OK {
        return Ok(Ok(text));
    }
    let code = xml::text(&text, "errorCode").and_then(|code| code.parse().ok());
    code.map(Err).ok_or(Failure::Garbled)
}

/// One exchange with the router over HTTP, by the device that leads to it and from the address that it knows.
async fn exchange(
    gateway: &Gateway,
    port: u16,
    asking: Duration,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<(StatusCode, String), Failure> {
    let mut request = request.map_err(|_| Failure::Garbled)?;
    let host = format!("{}:{port}", gateway.ip).parse().map_err(|_| Failure::Garbled)?;
    request.headers_mut().insert(HOST, host);
    let exchanged = async {
        let socket = TcpSocket::new_v4().map_err(|_| Failure::Silent)?;
        let device = gateway.device.as_bytes();
        SockRef::from(&socket).bind_device(Some(device)).map_err(|_| Failure::NoRouter)?;
        socket.bind(SocketAddr::from((gateway.own, 0))).map_err(|_| Failure::NoRouter)?;
        let to = SocketAddr::from((gateway.ip, port));
        let stream = socket.connect(to).await.map_err(|_| Failure::Silent)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::Garbled)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|_| Failure::Garbled)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), BODY_BYTES).collect().await;
            let body = body.map_err(|_| Failure::Garbled)?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        // The connection turns for as long as the answer is waited for, and no longer.
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    };
    timeout(asking, exchanged).await.unwrap_or(Err(Failure::Silent))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{super::Port, *};

    fn ask(transport: Transport, lease: Lease) -> Ask {
        let external = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 4408);
        let (port, own) = (Port { transport, number: 4408 }, Ipv4Addr::LOCALHOST);
        Ask { port, external, lease, nonce: [0xa5; 12], own, is_noted: false }
    }

    /// A router on loopback that answers each order, by its text, with a status and a body; with the names of the orders
    /// that it got.
    async fn router(
        answer: fn(&str) -> (u16, String),
    ) -> (Gateway, Device, Arc<Mutex<Vec<String>>>) {
        let ip = Ipv4Addr::LOCALHOST;
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = Arc::new(Mutex::new(Vec::new()));
        let got = Arc::clone(&orders);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = String::new();
                while !asked.contains("</s:Envelope>") {
                    let mut some = [0; 1024];
                    let len = stream.read(&mut some).await.unwrap();
                    assert!(len > 0, "{asked}");
                    asked.push_str(str::from_utf8(&some[..len]).unwrap());
                }
                let name = asked.split("<u:").nth(1).unwrap().split(' ').next().unwrap();
                got.lock().unwrap().push(name.to_owned());
                let (status, body) = answer(&asked);
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        let gateway = Gateway { ip, own: ip, device: "lo".into() };
        let (path, place) = ("/ctl".to_owned(), (port, "/".to_owned()));
        let (udn, service, asking) = ("uuid:1".into(), SERVICES[1], Duration::from_secs(60));
        let device = Device { udn, place, port, path, service, asking };
        (gateway, device, orders)
    }

    fn at(ip: &str) -> (u16, String) {
        (200, format!("<s:Body><NewExternalIPAddress>{ip}</NewExternalIPAddress></s:Body>"))
    }

    fn no(code: u16) -> (u16, String) {
        (500, format!("<s:Fault><detail><errorCode>{code}</errorCode></detail></s:Fault>"))
    }

    /// The entry of a port, as a router has it.
    fn entry(client: &str, description: &str, lease: u32) -> (u16, String) {
        let text = format!(
            "<s:Body><NewInternalPort>4408</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
             <NewPortMappingDescription>{description}</NewPortMappingDescription>\
             <NewLeaseDuration>{lease}</NewLeaseDuration></s:Body>"
        );
        (200, text)
    }

    /// What a router says that has such an entry.
    fn has(asked: &str, client: &str, name: &str, lease: u32) -> (u16, String) {
        match asked.contains("#GetExternalIPAddress") {
            true => at("11.78.0.2"),
            false => entry(client, name, lease),
        }
    }

    #[tokio::test]
    async fn what_a_router_can_not_do_is_told_apart_from_what_it_refuses() {
        let of = |answer: fn(&str) -> (u16, String), lease| async move {
            let (gateway, device, _) = router(answer).await;
            map(&gateway, &device, &ask(Transport::Udp, lease)).await
        };
        let picky = |asked: &str| match asked.contains("<NewLeaseDuration>0<") {
            true => (200, String::new()),
            false => no(PERMANENT_ALONE),
        };
        let external = ask(Transport::Udp, Lease::Ever).external;
        assert_eq!(of(picky, Lease::Hour).await, Ok(Reply::OnlyForEver));
        assert_eq!(of(picky, Lease::Ever).await, Ok(Reply::Granted(external, None)));
        assert_eq!(of(|_| no(CONFLICT_ELSEWHERE), Lease::Hour).await, Ok(Reply::Taken));
        assert_eq!(of(|_| no(606), Lease::Hour).await, Err(Failure::Refused));
    }

    #[tokio::test]
    async fn what_a_person_had_passed_on_by_hand_is_told_and_not_taken_back() {
        const OWN: &str = "Wattle a5a5a5a5a5a5a5a5a5a5a5a5";
        let of = |answer: fn(&str) -> (u16, String), is_noted| async move {
            let (gateway, device, orders) = router(answer).await;
            let ask = Ask { is_noted, ..ask(Transport::Tcp, Lease::Over) };
            let looked = look(&gateway, &device, &ask).await;
            take_back(&gateway, &device, &ask).await.unwrap();
            let is_deleted = orders.lock().unwrap().contains(&"DeletePortMapping".to_owned());
            (looked, is_deleted)
        };
        let ip = Ipv4Addr::new(11, 78, 0, 2);
        let stood = Ok(Look::Stood(SocketAddrV4::new(ip, 4408)));
        let own = Ok(Look::Own(ip));
        let by_hand = |asked: &str| has(asked, "127.0.0.1", "Wattle", 0);
        let unnamed = |asked: &str| has(asked, "127.0.0.1", "", 0);
        let named = |asked: &str| has(asked, "127.0.0.1", OWN, 0);
        let ending = |asked: &str| has(asked, "127.0.0.1", "any", 7);
        let others = |asked: &str| has(asked, "127.0.0.9", OWN, 0);
        assert_eq!(of(by_hand, true).await, (stood, false), "people call it so, too");
        assert_eq!(of(unnamed, false).await, (stood, false));
        assert_eq!(of(unnamed, true).await, (own, true));
        assert_eq!(of(named, false).await, (own, true));
        assert_eq!(of(ending, false).await, (own, true));
        assert_eq!(of(others, true).await, (Ok(Look::Taken), false));
    }

    #[tokio::test]
    async fn what_is_no_answer_takes_nothing_back() {
        let of = |answer: fn(&str) -> (u16, String)| async move {
            let (gateway, device, _) = router(answer).await;
            take_back(&gateway, &device, &ask(Transport::Tcp, Lease::Over)).await.is_ok()
        };
        assert!(of(|_| no(NO_SUCH)).await);
        assert!(of(|_| entry("127.0.0.9", "", 0)).await, "it is another's by now");
        assert!(of(|_| entry("127.0.0.1", "", 9)).await, "it is deleted");
        assert!(!of(|_| (200, "<html><body>Please log in</body></html>".into())).await);
        assert!(!of(|_| (200, String::new())).await);
        assert!(!of(|_| no(501)).await);
    }

    #[tokio::test]
    async fn what_a_router_says_is_bounded() {
        let of = |answer: fn(&str) -> (u16, String)| async move {
            let (gateway, device, _) = router(answer).await;
            look(&gateway, &device, &ask(Transport::Tcp, Lease::Hour)).await
        };
        assert_eq!(of(|_| at("")).await, Err(Failure::NotGlobal), "it is not connected");
        assert_eq!(of(|_| at("router.example")).await, Err(Failure::Garbled));
        assert_eq!(of(|_| (200, "<".repeat(BODY_BYTES + 1))).await, Err(Failure::Garbled));
        assert_eq!(of(|_| (500, "no".into())).await, Err(Failure::Garbled));
        assert_eq!(of(|_| no(606)).await, Err(Failure::Refused));
    }
}
