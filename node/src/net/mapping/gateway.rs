//! The router that this machine's packets leave by, and this machine's own address towards it.
//!
//! > Where packets leave by a tunnel, there is none: a mapping on the router below it would show members an
//! > address that its person meant to leave behind. What is sent to a router leaves by the device that the default route
//! > names, whatever other routes there are.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    path::Path,
};

use socket2::SockRef;

use super::Failure;

/// A router, and how it knows this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) ip: Ipv4Addr,
    /// This machine's own address towards it.
    pub(super) own: Ipv4Addr,
    /// The device that leads there.
    pub(super) device: String,
}

/// The system's table of routes over IPv4, and what it says of devices, of this process's network.
const ROUTES: &str = "/proc/net/route";
const DEVICES: &str = "/sys/class/net";
/// Flags of a route there: it stands, and it leads to a router.
const UP: u16 = 1;
const BY_ROUTER: u16 = 2;
/// A device like Ethernet's (Wi-Fi is one): what is not has no router beside it, but another end.
const ETHERNET: &str = "1";
/// Devices that look like Ethernet's, and carry it to another end over IP.
const OVER_IP: [&str; 2] = ["DEVTYPE=vxlan", "DEVTYPE=geneve"];
/// Places all over the internet, for the system to say from where a packet would go there: tunnels take all of it by
/// routes to its halves. None is sent. Where no route leads there says nothing.
const FAR: [Ipv4Addr; 3] =
    [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(129, 0, 0, 1), Ipv4Addr::new(198, 51, 100, 1)];
/// A port, since there has to be one.
const PORT: u16 = 9;

/// Asks the system; nothing leaves the machine.
pub(super) fn find() -> Result<Gateway, Failure> {
    let routes = fs::read_to_string(ROUTES).map_err(|_| Failure::NoRouter)?;
    let (device, ip) = default_route(&routes).ok_or(Failure::NoRouter)?;
    let ip = ip.ok_or(Failure::Tunnel)?;
    if is_tunnel(&Path::new(DEVICES).join(device)) {
        return Err(Failure::Tunnel);
    }
    let own = from(Some(device), ip).ok_or(Failure::NoRouter)?;
    let by_others = |there: Ipv4Addr| from(None, there).is_some_and(|by| by != own);
    let is_led_on = FAR.into_iter().any(|far| from(None, far) == Some(own));
    match (by_others(ip) || FAR.into_iter().any(by_others), is_led_on) {
        (true, _) => Err(Failure::Tunnel),
        (false, false) => Err(Failure::NoRouter),
        (false, true) => Ok(Gateway { ip, own, device: device.into() }),
    }
}

impl Gateway {
    /// Whether this machine still has the address under which that router knows it, towards that router.
    pub(super) fn is_there(&self) -> bool {
        from(Some(&self.device), self.ip) == Some(self.own)
    }

    /// Whether it is that router, under whichever address of this machine.
    pub(super) fn is_router(&self, other: &Self) -> bool {
        (self.ip, &self.device) == (other.ip, &other.device)
    }

    /// A socket from which the router alone is reached, and which hears nobody else.
    pub(super) async fn socket(&self, port: u16) -> io::Result<tokio::net::UdpSocket> {
        let socket = tokio::net::UdpSocket::bind((self.own, 0)).await?;
        SockRef::from(&socket).bind_device(Some(self.device.as_bytes()))?;
        socket.connect((self.ip, port)).await?;
        Ok(socket)
    }
}

/// The default route that is preferred: its device, and the router that it leads to, if it does.
fn default_route(routes: &str) -> Option<(&str, Option<Ipv4Addr>)> {
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, to, by, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let flags = u16::from_str_radix(flags, 16).ok()?;
        let is_default = hex(to)?.is_unspecified() && hex(mask)?.is_unspecified();
        let by = (flags & BY_ROUTER != 0).then(|| hex(by)).flatten();
        (is_default && flags & UP != 0).then_some((metric.parse::<u32>().ok()?, (device, by)))
    });
    Some(defaults.min_by_key(|(metric, _)| *metric)?.1)
}

/// Whether a device, by what the system says of it in this directory, is the end of a tunnel, or of a line, and no
/// network with a router on it.
fn is_tunnel(device: &Path) -> bool {
    let said = |name: &str| fs::read_to_string(device.join(name)).unwrap_or_default();
    let is_over_ip = said("uevent").lines().any(|line| OVER_IP.contains(&line));
    said("type").trim() != ETHERNET || device.join("tun_flags").exists() || is_over_ip
}

/// An address as the table has it: a number in the machine's own order of bytes.
fn hex(text: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()))
}

/// From which of its addresses this machine would send there: by this device, or by whichever it would choose.
fn from(device: Option<&str>, there: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    if let Some(device) = device {
        SockRef::from(&socket).bind_device(Some(device.as_bytes())).ok()?;
    }
    socket.connect(SocketAddrV4::new(there, PORT)).ok()?;
    match socket.local_addr().ok()? {
        std::net::SocketAddr::V4(own) => Some(*own.ip()),
        std::net::SocketAddr::V6(_) => None,
    }
}

/// Whether an address is the internet's: no router on the way to a member would drop it.
pub(super) fn is_global(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_special = match (a, b, c) {
        // "This network"; shared by a provider's customers; protocols; benchmarks; reserved.
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) | (240.., ..) => true,
        _ => false,
    };
    !(is_special
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn number(ip: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(ip))
    }

    fn line(to: [u8; 4], by: [u8; 4], flags: &str, metric: u32, mask: [u8; 4]) -> String {
        let (to, by, mask) = (number(to), number(by), number(mask));
        format!("eth0\t{to}\t{by}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
    }

    #[test]
    fn the_router_is_that_of_the_preferred_default_route() {
        let any = [0; 4];
        let near = line([192, 168, 1, 0], any, "0001", 0, [255, 255, 255, 0]);
        let slow = line(any, [10, 0, 0, 1], "0003", 600, any);
        let quick = line(any, [192, 168, 1, 1], "0003", 100, any);
        let of = |lines: &[&String]| {
            let lines: String = lines.iter().map(|line| line.as_str()).collect();
            let table = format!("{HEAD}{lines}");
            default_route(&table).map(|(device, by)| (device.to_owned(), by))
        };
        let by = |ip: [u8; 4]| Some(("eth0".to_owned(), Some(Ipv4Addr::from(ip))));
        assert_eq!(of(&[&near]), None);
        assert_eq!(of(&[&near, &slow]), by([10, 0, 0, 1]));
        assert_eq!(of(&[&slow, &near, &quick]), by([192, 168, 1, 1]));
        let down = line(any, [192, 168, 1, 9], "0002", 1, any);
        assert_eq!(of(&[&down, &quick]), by([192, 168, 1, 1]));
        let tunnel = line(any, any, "0001", 50, any);
        let nobody = Some(("eth0".to_owned(), None));
        assert_eq!(of(&[&quick, &tunnel]), nobody, "what is preferred leads to no router");
        for odd in ["", "x", "Iface\nlo\n", "a b c d e f g h i\n\u{0} 0 0 0 0 0 0 0"] {
            assert_eq!(default_route(odd), None);
        }
    }

    #[test]
    fn a_device_that_is_none_of_a_network_is_a_tunnel() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_tunnel(dir.path()), "of which nothing is known");
        for (kind, is) in [("65534\n", true), ("512\n", true), ("1\n", false)] {
            fs::write(dir.path().join("type"), kind).unwrap();
            assert_eq!(is_tunnel(dir.path()), is, "{kind}");
        }
        for (kind, is) in [("wlan", false), ("bridge", false), ("vxlan", true), ("geneve", true)] {
            fs::write(dir.path().join("uevent"), format!("DEVTYPE={kind}\nINTERFACE=e0\n"))
                .unwrap();
            assert_eq!(is_tunnel(dir.path()), is, "{kind}");
        }
        fs::write(dir.path().join("uevent"), "INTERFACE=e0\n").unwrap();
        fs::write(dir.path().join("tun_flags"), "0x1002\n").unwrap();
        assert!(is_tunnel(dir.path()), "one that looks like Ethernet");
    }

    #[test]
    fn an_address_of_the_internet_is_one_that_every_router_carries() {
        for near in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_global(near.parse().unwrap()), "{near}");
        }
        for far in ["1.1.1.1", "11.78.0.2", "100.128.0.1", "172.32.0.1", "198.20.0.1"] {
            assert!(is_global(far.parse().unwrap()), "{far}");
        }
    }
}
