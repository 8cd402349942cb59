//! Where the router takes orders: a question on the local network, and the description that the answer names.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Uri};
use socket2::SockRef;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{
    super::{Failure, gateway::Gateway, xml},
    Device, PATH_BYTES, SERVICES, UDN_BYTES, exchange,
};

/// A port of the router's, and a path there.
pub(in super::super) type Place = (u16, String);

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// Where routers are looked for.
pub(in super::super) const SEARCH_PORT: u16 = 1900;
const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                      ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
/// How long an answer to the search is waited for, each of the times that it is sent.
const SEARCHING: Duration = Duration::from_millis(1500);
/// The longest answer to the search.
const FOUND_BYTES: usize = 2048;
/// Descriptions that are read: the first may be none, or none of the router's.
const PLACES: usize = 4;

/// Looks for the router's device: where it was last, then by asking the router alone, then the network. Which router it
/// is, it says itself each time.
pub(in super::super) async fn find(
    gateway: &Gateway,
    port: u16,
    asking: Duration,
    last: Option<Place>,
) -> Result<Device, Failure> {
    if let Some(last) = last
        && let Ok(device) = read(gateway, last, asking).await
    {
        return Ok(device);
    }
    let socket = UdpSocket::bind((gateway.own, 0)).await.map_err(|_| Failure::NoRouter)?;
    let bound = SockRef::from(&socket);
    bound.bind_device(Some(gateway.device.as_bytes())).map_err(|_| Failure::NoRouter)?;
    let _ = bound.set_multicast_if_v4(&gateway.own);
    let _ = bound.set_multicast_ttl_v4(1);
    let (mut failure, mut tried) = (Failure::Silent, Vec::new());
    for to in [gateway.ip, GROUP, GROUP] {
        // A network without multicast is no failure yet.
        let _ = socket.send_to(SEARCH.as_bytes(), (to, port)).await;
        let until = Instant::now() + SEARCHING;
        while let Ok(place) = timeout_at(until, found(&socket, gateway.ip)).await {
            let place = place?;
            if tried.contains(&place) || tried.len() == PLACES {
                continue;
            }
            tried.push(place.clone());
            match read(gateway, place, asking).await {
                Ok(device) => return Ok(device),
                Err(met) => failure = failure.max(met),
            }
        }
    }
    Err(failure)
}

async fn read(gateway: &Gateway, place: Place, asking: Duration) -> Result<Device, Failure> {
    let request = Request::get(place.1.as_str()).body(Full::default());
    let (_, text) = exchange(gateway, place.0, asking, request).await?;
    described(&text, gateway.ip, place, asking).ok_or(Failure::Garbled)
}

/// The next answer of the router's that says where its description is.
async fn found(socket: &UdpSocket, router: Ipv4Addr) -> Result<Place, Failure> {
    let mut buffer = [0; FOUND_BYTES];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.map_err(|_| Failure::Silent)?;
        if matches!(from, SocketAddr::V4(from) if *from.ip() == router)
            && let Some(place) = buffer.get(..len).and_then(|answer| location(answer, router))
        {
            return Ok(place);
        }
    }
}

fn location(answer: &[u8], router: Ipv4Addr) -> Option<Place> {
    let text = str::from_utf8(answer).ok()?;
    let mut lines = text.lines();
    if !lines.next()?.starts_with("HTTP/1.1 200") {
        return None;
    }
    let at = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    })?;
    on_router(at, router)
}

/// The port and the path of an address of the router's own; none of any other's.
fn on_router(at: &str, router: Ipv4Addr) -> Option<Place> {
    let uri: Uri = at.parse().ok()?;
    let is_own = uri.scheme_str() == Some("http") && uri.host()?.parse() == Ok(router);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    (is_own && path.len() <= PATH_BYTES).then(|| (uri.port_u16().unwrap_or(80), path.to_owned()))
}

/// Which device is described so, at this place, and where it takes orders for port mappings.
fn described(
    description: &str,
    router: Ipv4Addr,
    place: Place,
    asking: Duration,
) -> Option<Device> {
    let udn = xml::text(description, "UDN").filter(|udn| (1..=UDN_BYTES).contains(&udn.len()))?;
    let mut base = place.clone();
    let (mut service, mut control) = (None, None);
    for (name, text) in xml::ended(description) {
        match name.as_str() {
            "URLBase" => base = on_router(&text, router).unwrap_or(base),
            "serviceType" => service = SERVICES.into_iter().find(|known| *known == text),
            "controlURL" => control = Some(text),
            "service" => {
                if let (Some(service), Some(control)) = (service.take(), control.take()) {
                    let (port, path) = placed(&control, router, &base)?;
                    return Some(Device { udn, place, port, path, service, asking });
                }
            }
            _ => {}
        }
    }
    None
}

/// A place by an address that may be relative to another.
fn placed(control: &str, router: Ipv4Addr, (port, base): &Place) -> Option<Place> {
    if control.contains("://") {
        return on_router(control, router);
    }
    let path = match control.strip_prefix('/') {
        Some(_) => control.to_owned(),
        None => {
            let base = base.split('?').next().unwrap_or_default();
            let dir = base.rsplit_once('/').map_or("", |(dir, _)| dir);
            format!("{dir}/{control}")
        }
    };
    (path.len() <= PATH_BYTES).then_some((*port, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    fn service(kind: &str, control: &str) -> String {
        format!(
            "<service><serviceType>{kind}</serviceType><serviceId>x</serviceId>\
             <controlURL>{control}</controlURL><SCPDURL>/x.xml</SCPDURL></service>"
        )
    }

    fn at(path: &str) -> Place {
        (5000, path.to_owned())
    }

    #[test]
    fn where_the_router_describes_itself_is_taken_from_the_router_about_the_router() {
        let answer = |at: &str| {
            let text =
                format!("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nLocation: {at}\r\n\r\n");
            location(text.as_bytes(), ROUTER)
        };
        let path = "/rootDesc.xml".to_owned();
        assert_eq!(answer("http://192.168.1.1:5000/rootDesc.xml"), Some((5000, path.clone())));
        assert_eq!(answer("http://192.168.1.1/rootDesc.xml"), Some((80, path)));
        for elsewhere in [
            "http://192.168.1.2:5000/x",
            "http://127.0.0.1/x",
            "https://192.168.1.1/x",
            "http://router/x",
            "http://me@192.168.1.2/x",
            "file:///etc/passwd",
            "/x",
            "",
        ] {
            assert_eq!(answer(elsewhere), None, "{elsewhere}");
        }
        let long = format!("http://192.168.1.1/{}", "x".repeat(PATH_BYTES));
        assert_eq!(answer(&long), None);
        for none in ["", "NOTIFY * HTTP/1.1\r\nLocation: http://192.168.1.1/\r\n", "HTTP/1.1 200"] {
            assert_eq!(location(none.as_bytes(), ROUTER), None);
        }
        assert_eq!(location(&[0xff; 64], ROUTER), None);
    }

    #[test]
    fn the_service_that_maps_ports_is_found_among_others() {
        let other = service("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/ctl/L3F");
        let wanted = service(SERVICES[1], "ctl/IPConn?a&amp;b");
        let text = |before: &str| {
            format!(
                "<root>{before}<device><UDN>uuid:1</UDN><serviceList>{other}</serviceList><deviceList>{wanted}\
                 <device><UDN>uuid:2</UDN></device></deviceList></device></root>"
            )
        };
        let asking = Duration::from_secs(7);
        let found = |text: &str| described(text, ROUTER, at("/igd/desc.xml?1/2"), asking);
        let device = |port, path: &str| {
            let (udn, place, path) = ("uuid:1".into(), at("/igd/desc.xml?1/2"), path.into());
            Some(Device { udn, place, port, path, service: SERVICES[1], asking })
        };
        assert_eq!(found(&text("")), device(5000, "/igd/ctl/IPConn?a&b"));
        let based = text("<URLBase>http://192.168.1.1:49000/</URLBase>");
        assert_eq!(found(&based), device(49_000, "/ctl/IPConn?a&b"));
        let elsewhere = text("<URLBase>http://10.0.0.1:49000/</URLBase>");
        assert_eq!(found(&elsewhere), device(5000, "/igd/ctl/IPConn?a&b"));
        let named = |udn: &str, control: &str| {
            format!("<r><UDN>{udn}</UDN>{}</r>", service(SERVICES[0], control))
        };
        let own = found(&named("uuid:1", "http://192.168.1.1:80/c")).unwrap();
        assert_eq!((own.port, own.path.as_str()), (80, "/c"));
        for no_name in ["", &"x".repeat(UDN_BYTES + 1)] {
            assert_eq!(found(&named(no_name, "/c")), None);
        }
        assert_eq!(found(&service(SERVICES[0], "/c")), None, "nobody knows whose it is");
        let elsewhere = named("uuid:1", "http://10.0.0.1/c");
        for none in [other, elsewhere, named("uuid:1", &"/".repeat(2000)), String::new()] {
            assert_eq!(found(&none), None);
        }
    }
}
