//! Who may ask, for what, and the answer to it.

use std::{net::IpAddr, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use prometheus_client::encoding::text::encode;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::{
    Facts,
    counts::Counts,
    figures::Figures,
    history::History,
    page::{self, Page},
};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What each answer says to a browser: ask nobody else, run nothing else, keep and tell nothing.
const GUARDS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What is shown besides figures, and to whom.
pub(crate) struct Shown {
    page: Page,
    addrs: Vec<String>,
    token: Option<String>,
}

impl Shown {
    pub(super) fn of(facts: Facts) -> Self {
        Self { page: Page::new(&facts), addrs: facts.addrs, token: facts.token }
    }
}

/// Answers what is asked of the dashboard.
pub(super) struct Answers {
    shown: watch::Receiver<Arc<Shown>>,
    counts: Arc<Counts>,
    history: Arc<History>,
    started: Instant,
}

impl Answers {
    pub(super) fn new(
        shown: watch::Receiver<Arc<Shown>>,
        counts: Arc<Counts>,
        history: Arc<History>,
        started: Instant,
    ) -> Self {
        Self { shown, counts, history, started }
    }

    /// The answer to a request, whose body is not read.
    pub(super) fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        let (headers, path) = (request.headers(), request.uri().path());
        let shown = Arc::clone(&self.shown.borrow());
        let mut answer = if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = said(StatusCode::METHOD_NOT_ALLOWED, "It can be read only.\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        } else if !request.body().is_end_stream() {
            said(StatusCode::PAYLOAD_TOO_LARGE, "No body is taken.\n")
        } else if path == "/healthz" {
            self.health()
        } else if let Some(refused) = turned_away(headers, shown.token.as_deref()) {
            refused
        } else {
            self.page_at(path, &shown)
        };
        for (name, value) in GUARDS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    /// Whether the relay takes entries, to whoever asks: it says nothing else.
    fn health(&self) -> Response<String> {
        match self.counts.trouble() {
            None => said(StatusCode::OK, "ok\n"),
            Some(_) => said(StatusCode::SERVICE_UNAVAILABLE, "the store takes no more\n"),
        }
    }

    fn page_at(&self, path: &str, shown: &Shown) -> Response<String> {
        let figures = || Figures::of(&self.counts, &self.history, self.started, &shown.addrs);
        let (kind, body) = match path {
            "/" => (HTML, Some(shown.page.html(&figures()))),
            "/live.json" => (JSON, Some(shown.page.live(&figures()))),
            "/state.json" => (JSON, serde_json::to_string(&figures()).ok()),
            "/live.js" => (SCRIPT, Some(page::SCRIPT.to_owned())),
            "/look.css" => (STYLE, Some(page::STYLE.to_owned())),
            "/metrics" => {
                let mut text = String::new();
                let encoded = encode(&mut text, &self.counts.registry());
                (METRICS, encoded.is_ok().then_some(text))
            }
            _ => return said(StatusCode::NOT_FOUND, "There is nothing here.\n"),
        };
        match body {
            Some(body) => of_kind(StatusCode::OK, kind, body),
            None => said(StatusCode::INTERNAL_SERVER_ERROR, "It can't be said.\n"),
        }
    }
}

/// Turns away who doesn't know the token; where there is none, who doesn't ask for it by a name of
/// this machine, as no page of the web can have its readers do, and whom a proxy lets in from elsewhere.
fn turned_away(headers: &HeaderMap, token: Option<&str>) -> Option<Response<String>> {
    const ASK: &str = "Basic realm=\"wattle-rendezvous\", charset=\"UTF-8\"";
    let Some(token) = token else {
        let words = match (is_passed_on(headers), is_local(headers)) {
            (false, true) => return None,
            (true, _) => "A proxy passes this on: set a token.\n",
            (false, false) => "Ask for it as localhost.\n",
        };
        return Some(said(StatusCode::FORBIDDEN, words));
    };
    if knows(headers, token) {
        return None;
    }
    let words = "A token is needed: as the password, or as a Bearer token.\n";
    let mut answer = said(StatusCode::UNAUTHORIZED, words);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(ASK));
    Some(answer)
}

fn said(status: StatusCode, words: &str) -> Response<String> {
    of_kind(status, TEXT, words.to_owned())
}

fn of_kind(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Whether a request has the token: `Bearer TOKEN`, or `Basic` with it as the password.
fn knows(headers: &HeaderMap, token: &str) -> bool {
    let Some(given) = only(headers, header::AUTHORIZATION) else { return false };
    let Some((scheme, given)) = given.split_once(' ') else { return false };
    let same = |given: &[u8]| bool::from(given.ct_eq(token.as_bytes()));
    if scheme.eq_ignore_ascii_case("bearer") {
        return same(given.trim().as_bytes());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(pair) = BASE64.decode(given.trim()) else { return false };
    let password = pair.iter().position(|byte| *byte == b':').and_then(|at| pair.get(at + 1..));
    password.is_some_and(same)
}

/// Whether a request names this machine as it names itself.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = only(headers, header::HOST) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether a proxy says that it passes on what others ask: it comes from this machine then, and may be
/// anybody's.
fn is_passed_on(headers: &HeaderMap) -> bool {
    let says_so = |name: &str| {
        name.starts_with("x-forwarded") || ["forwarded", "via", "x-real-ip"].contains(&name)
    };
    headers.keys().any(|name| says_so(name.as_str()))
}

/// The header's value, if it is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    if all.next().is_none() { first.to_str().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_known_by_all_of_it_alone() {
        let token = "0123456789abcdef";
        let knows = |given: &[&str]| knows(&headers(header::AUTHORIZATION, given), token);
        let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair));
        assert!(knows(&["Bearer 0123456789abcdef"]) && knows(&["bearer  0123456789abcdef"]));
        assert!(knows(&[&basic(":0123456789abcdef")]) && knows(&[&basic("me:0123456789abcdef")]));
        for given in [
            "",
            "Bearer",
            "Bearer ",
            "0123456789abcdef",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcdeF",
            "Digest 0123456789abcdef",
            "Basic 0123456789abcdef",
            "Basic *",
            &basic("0123456789abcdef"),
            &basic("0123456789abcdef:"),
            &basic("a:b:0123456789abcdef"),
        ] {
            assert!(!knows(&[given]), "{given}");
        }
        assert!(!knows(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]));
        assert!(!knows(&[]));
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        let is_local = |given: &[&str]| is_local(&headers(header::HOST, given));
        for host in
            ["localhost", "LocalHost:4408", "127.0.0.1:4408", "127.1.2.3", "[::1]:4408", "[::1]"]
        {
            assert!(is_local(&[host]), "{host}");
        }
        for host in [
            "",
            "relay.example",
            "localhost.relay.example",
            "relay.example:4408",
            "127.0.0.1.relay.example",
            "192.0.2.1:4408",
            "[::]:4408",
            "0.0.0.0",
            "localhost:4408:relay",
        ] {
            assert!(!is_local(&[host]), "{host}");
        }
        assert!(!is_local(&[]) && !is_local(&["localhost", "relay.example"]));
    }
}
