//! A router of the test's own, on loopback, that speaks UPnP: another one stands at the same address once it is told so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::sleep,
};

use super::{OUTSIDE, OWN, xml};

pub(super) struct Igd {
    /// Where it hears the search.
    pub(super) search: u16,
    state: Arc<Mutex<State>>,
}

/// What it knows, and how it behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Its own name; one without any says nothing.
    pub(super) udn: &'static str,
    pub(super) only_for_ever: bool,
    pub(super) keeps_no_names: bool,
    /// It says of what it passes on already that it is another's, also to whom it passes it on.
    pub(super) refuses_again: bool,
    /// It says of no port whose it is, and of each that it is another's.
    pub(super) is_full: bool,
    /// The ports outside for which it was to take something back.
    pub(super) over: BTreeSet<String>,
    /// How long it thinks.
    pub(super) slow: Duration,
    /// This order it carries out, and answers by what can't be read.
    pub(super) garbles: &'static str,
    /// What it passes on, by protocol and port outside.
    pub(super) table: BTreeMap<(String, String), Entry>,
    /// The orders that it got, and from where.
    pub(super) orders: Vec<String>,
    pub(super) from: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) client: String,
    pub(super) port: String,
    pub(super) name: String,
    pub(super) lease: String,
}

impl Igd {
    pub(super) async fn new() -> Self {
        let (heard, listener) =
            (UdpSocket::bind((OWN, 0)).await.unwrap(), TcpListener::bind((OWN, 0)).await.unwrap());
        let [search, port] =
            [heard.local_addr(), listener.local_addr()].map(|at| at.unwrap().port());
        let state: Arc<Mutex<State>> = Arc::default();
        let at = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{OWN}:{port}/is.xml\r\n\r\n");
        let is = Arc::clone(&state);
        tokio::spawn(async move {
            let mut buffer = [0; 1100];
            while let Ok((_, from)) = heard.recv_from(&mut buffer).await {
                if !is.lock().unwrap().udn.is_empty() {
                    heard.send_to(at.as_bytes(), from).await.unwrap();
                }
            }
        });
        let is = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                tokio::spawn(serve(stream, from.ip(), Arc::clone(&is)));
            }
        });
        Self { search, state }
    }

    /// It is this one from now on; gives what was there.
    pub(super) fn becomes(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.lock().unwrap(), state)
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().unwrap().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

impl State {
    pub(super) fn of(udn: &'static str) -> Self {
        Self { udn, ..Self::default() }
    }

    fn answer(&mut self, asked: &str, from: IpAddr) -> (u16, String) {
        if asked.starts_with("GET") {
            return self.description();
        }
        let order = asked.split("<u:").nth(1).unwrap().split(' ').next().unwrap();
        self.orders.push(order.to_owned());
        self.from.insert(from);
        let answer = self.obey(order, asked);
        match answer {
            _ if order == self.garbles => (500, "<html>An error has occurred.</html>".to_owned()),
            Ok(text) => (200, format!("<s:Body>{text}</s:Body>")),
            Err(code) => (500, format!("<s:Fault><errorCode>{code}</errorCode></s:Fault>")),
        }
    }

    fn obey(&mut self, order: &str, asked: &str) -> Result<String, u16> {
        let field = |name: &str| xml::text(asked, name).unwrap_or_default();
        let key = (field("NewProtocol"), field("NewExternalPort"));
        match order {
            "GetExternalIPAddress" => {
                Ok(format!("<NewExternalIPAddress>{OUTSIDE}</NewExternalIPAddress>"))
            }
            "GetSpecificPortMappingEntry" if self.is_full => Err(401),
            "GetSpecificPortMappingEntry" => self.table.get(&key).map(Entry::text).ok_or(714),
            "AddPortMapping" if self.is_full => Err(718),
            "AddPortMapping" if self.refuses_again && self.table.contains_key(&key) => Err(718),
            "AddPortMapping" if self.only_for_ever && field("NewLeaseDuration") != "0" => Err(725),
            "AddPortMapping" => {
                let [client, port, lease] =
                    ["NewInternalClient", "NewInternalPort", "NewLeaseDuration"].map(field);
                let named = if self.keeps_no_names { "" } else { "NewPortMappingDescription" };
                let entry = Entry { client, port, name: field(named), lease };
                self.table.insert(key, entry);
                Ok(String::new())
            }
            "DeletePortMapping" => {
                self.over.insert(key.1.clone());
                self.table.remove(&key).map(|_| String::new()).ok_or(714)
            }
            _ => Err(401),
        }
    }

    fn description(&self) -> (u16, String) {
        let text = format!(
            "<root><device><UDN>{}</UDN><serviceList><service>\
             <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
             <controlURL>/ctl</controlURL></service></serviceList></device></root>",
            self.udn
        );
        (200, text)
    }
}

impl Entry {
    fn text(&self) -> String {
        let Self { client, port, name, lease } = self;
        format!(
            "<NewInternalPort>{port}</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
             <NewEnabled>1</NewEnabled><NewPortMappingDescription>{name}</NewPortMappingDescription>\
             <NewLeaseDuration>{lease}</NewLeaseDuration>"
        )
    }

    /// As somebody has typed it in, to lead to the node.
    pub(super) fn by_hand(own: Ipv4Addr, name: &str) -> Self {
        let [client, port, name, lease] = [&*own.to_string(), "4408", name, "0"].map(str::to_owned);
        Self { client, port, name, lease }
    }
}

async fn serve(mut stream: TcpStream, from: IpAddr, state: Arc<Mutex<State>>) {
    let mut asked = String::new();
    let end = |asked: &str| if asked.starts_with("GET") { "\r\n\r\n" } else { "</s:Envelope>" };
    while !asked.contains(end(&asked)) {
        let mut some = [0; 1024];
        let Ok(len @ 1..) = stream.read(&mut some).await else { return };
        asked.push_str(str::from_utf8(&some[..len]).unwrap());
    }
    let slow = state.lock().unwrap().slow;
    sleep(slow).await;
    let (status, body) = state.lock().unwrap().answer(&asked, from);
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
