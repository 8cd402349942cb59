//! What comes, shown by a desktop: a real session bus, and a service on it that notes what it is to show.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use futures::StreamExt;
use harness::{World, available};
use zbus::{Connection, MessageStream, OwnedVariant, connection::Builder};

/// A session's bus, until it is dropped.
struct Bus {
    daemon: Child,
    address: String,
}

/// A notification as a desktop gets it.
struct Shown {
    title: String,
    body: String,
    /// It is not to be kept.
    transient: bool,
}

const NOTIFICATIONS: &str = "org.freedesktop.Notifications";

impl Bus {
    fn start(dir: &Path) -> Self {
        let config = dir.join("bus.conf");
        let rules = format!(
            "<busconfig><type>session</type><listen>unix:dir={}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>\
             <allow own='*'/></policy></busconfig>",
            dir.display()
        );
        fs::write(&config, rules).unwrap();
        let config = format!("--config-file={}", config.display());
        let mut command = Command::new("dbus-daemon");
        command.args([&config, "--nofork", "--print-address=1"]).stdout(Stdio::piped());
        let mut daemon = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim_end().into() }
    }

    /// A service that shows notifications, but for the first that it is asked for, for as long as the test lasts.
    fn desktop(&self) -> Receiver<Shown> {
        let (shows, shown) = sync_channel(16);
        let (is_up, up) = sync_channel(1);
        let address = self.address.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let bus = Builder::address(address.as_str()).build().await.unwrap();
                let calls = MessageStream::from(&bus);
                bus.request_name(NOTIFICATIONS).await.unwrap();
                is_up.send(()).unwrap();
                serve(&bus, calls, &shows).await;
            });
        });
        up.recv().unwrap();
        shown
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

async fn serve(bus: &Connection, mut calls: MessageStream, shows: &SyncSender<Shown>) {
    let mut has_refused = false;
    while let Some(Ok(call)) = calls.next().await {
        let header = call.header();
        match header.member().map(|it| it.as_str()) {
            Some("GetCapabilities") => {
                bus.reply(&header, &vec!["body", "body-markup"]).await.unwrap();
            }
            Some("Notify") if !has_refused => {
                has_refused = true;
                let failed = "org.freedesktop.DBus.Error.Failed";
                bus.reply_error(&header, failed, &"not now").await.unwrap();
            }
            Some("Notify") => {
                type Call = (
                    String,
                    u32,
                    String,
                    String,
                    String,
                    Vec<String>,
                    HashMap<String, OwnedVariant>,
                    i32,
                );
                let (.., title, body, _, hints, _): Call = call.body().deserialize().unwrap();
                let transient = hints.contains_key("transient");
                bus.reply(&header, &1u32).await.unwrap();
                if shows.send(Shown { title, body, transient }).is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Runs `wattle notify` until `story` has ended, and gives what it said after its first line.
fn notified(world: &World, bus: &Bus, args: &str, story: impl FnOnce()) -> String {
    let [pid, said] = ["notify.pid", "notify.said"].map(|name| world.dir().join(name));
    let _ = fs::remove_file(&said);
    let (pid, said) = (pid.display(), said.display());
    let line = format!(
        "mkfifo {said} && echo $$ > {pid} && \
         DBUS_SESSION_BUS_ADDRESS='{}' exec wattle notify {args} 2> {said}",
        bus.address
    );
    let (pid, said) = (pid.to_string(), said.to_string());
    thread::scope(|scope| {
        let run = scope.spawn(|| world.shell("ana", &line));
        // Whoever opens it waits for who writes.
        while !Path::new(&said).exists() {
            thread::yield_now();
        }
        let mut said = BufReader::new(File::open(&said).unwrap());
        let mut first = String::new();
        said.read_line(&mut first).unwrap();
        assert_eq!(first, "the desktop shows what comes; Ctrl-C ends\n");
        story();
        let pid = fs::read_to_string(pid).unwrap();
        assert!(Command::new("kill").args(["-INT", pid.trim()]).status().unwrap().success());
        assert_eq!(run.join().unwrap().code, Some(130));
        std::io::read_to_string(said).unwrap()
    })
}

#[test]
fn a_desktop_shows_that_something_came_and_who_said_what_only_if_asked() {
    let there = Command::new("dbus-daemon").arg("--version").output();
    let there = there.map(drop).map_err(|_| String::from("dbus-daemon is not installed"));
    if available(there).is_none() {
        return;
    }
    let world = World::new();
    let relay = world.relay();
    let (mut ana, ben) = world.pair(&relay);
    let bus = Bus::start(world.dir());

    let nobody = format!("DBUS_SESSION_BUS_ADDRESS='{}' wattle notify", bus.address);
    let refused = ana.shell(&nobody).refused(5);
    assert!(refused.contains("notification service"), "{refused}");

    let shown = bus.desktop();
    let said = notified(&world, &bus, "", || {
        ben.send("tea", "the plan");
        let first = shown.recv().unwrap();
        assert_eq!((&*first.title, &*first.body), ("Wattle", "1 new message"));
    });
    assert!(said.contains("not now; trying again"), "{said}");

    let said = notified(&world, &bus, "--content --group tea --for-me", || {
        ben.send("tea", "for nobody");
        ben.cli(&["send", "tea", "--mention", "ana", "<b>look</b> & see\u{202e}"]).ok();
        let first = shown.recv().unwrap();
        assert_eq!(first.title, "ben in tea, for you");
        assert_eq!(first.body, "&lt;b&gt;look&lt;/b&gt; &amp; see\\u{202e}");
        assert!(first.transient);
        // What comes while the node is started anew is shown after it.
        ana.stop();
        ana.start_again();
        ben.cli(&["send", "tea", "--mention", "ana", "again"]).ok();
        assert_eq!(shown.recv().unwrap().body, "again");
    });
    assert!(said.contains("waiting for its next start"), "{said}");
    assert!(shown.try_recv().is_err());
}
