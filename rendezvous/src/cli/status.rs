//! `wattle-rendezvous status`: how the relay on this machine is, in a line.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use rendezvous::WatchConfig;
use serde_json::Value;

use super::given;

/// How long a relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any relay says.
const ANSWER_MAX: u64 = 1 << 20;

#[derive(Args)]
pub(super) struct Status {
    /// The settings file of the relay [default: as for run].
    #[arg(long, value_name = "FILE", env = "WATTLE_RENDEZVOUS_CONFIG")]
    config: Option<PathBuf>,
    /// Where its dashboard is [default: 127.0.0.1:4408].
    #[arg(long, value_name = "IP:PORT", env = "WATTLE_RENDEZVOUS_WATCH")]
    watch: Option<String>,
    /// Print all figures as one JSON line.
    #[arg(long)]
    json: bool,
}

/// Why nobody can say how it is.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the settings say that it has no dashboard. Name one with --watch")]
    Nowhere,
    #[error("nothing answers at {0}. Does the relay run? Is its dashboard elsewhere: --watch?")]
    Silent(SocketAddr, #[source] io::Error),
    #[error("it wants another token: the settings or WATTLE_RENDEZVOUS_WATCH_TOKEN have it")]
    Token,
    #[error("what answers at {0} is no relay of this version")]
    Other(SocketAddr),
}

/// Exits with 0 if the relay takes entries, with 1 if it takes none, with 4 if it does not answer.
pub(super) fn status(asked: Status) -> anyhow::Result<ExitCode> {
    let mut settings = given::of_place(asked.config, None)?;
    if let Some(watch) = asked.watch {
        settings.watch.listen = watch;
    }
    let figures = match figures(&settings.watch.config()?) {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(4));
        }
    };
    let line = if asked.json { figures.to_string() } else { line(&figures) };
    super::print(format!("{line}\n").as_bytes())?;
    let takes = figures["takes_entries"] == true;
    Ok(if takes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn figures(watch: &WatchConfig) -> Result<Value, Unknown> {
    let listen = watch.listen.ok_or(Unknown::Nowhere)?;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let at = SocketAddr::new(ip, listen.port());
    let answer = ask(at, watch.token.as_deref()).map_err(|error| Unknown::Silent(at, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(Unknown::Other(at))?;
    match head.split(' ').nth(1) {
        Some("200") => {}
        Some("401") => return Err(Unknown::Token),
        _ => return Err(Unknown::Other(at)),
    }
    let figures: Value = serde_json::from_str(body).map_err(|_| Unknown::Other(at))?;
    if figures["v"] == 1 { Ok(figures) } else { Err(Unknown::Other(at)) }
}

/// Asks for the figures; the relay hangs up when it has said them.
fn ask(at: SocketAddr, token: Option<&str>) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let token = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
    write!(stream, "GET /state.json HTTP/1.1\r\nHost: localhost\r\n{token}\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

fn line(it: &Value) -> String {
    let number = |key: &str| it[key].as_u64().unwrap_or_default();
    let rate = |key: &str| it[key].as_f64().unwrap_or_default();
    let size = |key: &str| ByteSize::b(number(key)).display().iec();
    let refused: u64 = it["refused"]
        .as_array()
        .map_or(0, |all| all.iter().filter_map(|one| one["times"].as_u64()).sum());
    let takes = if it["takes_entries"] == true { "takes entries" } else { "TAKES NO ENTRIES" };
    format!(
        "{takes}, up for {}, {} connections, {:.1} appends and {:.1} deliveries per second, {} of {} stored, \
         {refused} refused, version {}",
        humantime::format_duration(Duration::from_secs(number("uptime_s"))),
        number("connections"),
        rate("appends_per_s"),
        rate("deliveries_per_s"),
        size("stored_bytes"),
        size("quota_bytes"),
        it["version"].as_str().unwrap_or("?"),
    )
}
