//! A bridge: what is said in either of two groups is told in the other.
//!
//! ```sh
//! cargo run -p examples --example bridge -- ~/.local/share/wattle ops friends
//! ```
//!
//! What it means: everybody in either group reads what is said in both, also who is removed from one and still in the
//! other; this node's machine has it all in the clear. Members see the bridge as the writer: whose words they are
//! is the bridge's word alone, no signature shows it. Edits, deletions, reactions and files are not carried (a file's
//! name is), nor what was said while the bridge was not running. Tell both groups that it is there.
//!
//! Loops: it carries nothing of its own, and nothing that begins with [`MARK`], by which bridges of others know it.

use std::path::Path;

use anyhow::{Result, ensure};
use node::{
    api::types::{Class, Message, MessageKind, What},
    client::Client,
    core::TEXT_MAX,
};
use protocol::hidden::is_hidden;

/// What each message that was carried begins with.
const MARK: &str = "⇄ ";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, one, other] = args.as_slice() else {
        anyhow::bail!("say between which: bridge DATA_DIR GROUP GROUP");
    };
    let client = Client::connect(Path::new(data_dir)).await?;
    let (one, other) = (client.group(one).await?.summary, client.group(other).await?.summary);
    ensure!(one.id != other.id, "both are the same group");
    let mut events = client.events_from_now().await?;
    println!("bridging {:?} and {:?}", one.name, other.name);
    loop {
        let What::Message { message } = events.next().await?.what else { continue };
        let to = match &message.group.id {
            id if *id == one.id => &other.id,
            id if *id == other.id => &one.id,
            _ => continue,
        };
        if is_carried(&message)
            && let Err(error) = client.send(to, &carried(&message)).await
        {
            // A full queue or a group that was left ends no bridge: what could not be told is said here.
            eprintln!("message {} was not carried: {error}", message.id);
        }
    }
}

/// Whether it is a person's, said by a member, and not from a bridge.
fn is_carried(message: &Message) -> bool {
    let is_from_here = !message.mine && message.shared_by.is_none();
    is_from_here
        && message.class != Class::PostCut
        && message.more.kind != MessageKind::Unknown
        && message.more.deleted_by.is_none()
        && !message.text.starts_with(MARK)
}

/// What is said of it in the other group. No name and no line of it poses as another's: what hides, turns or quotes is
/// an escape in names, and lines after the first are indented.
fn carried(message: &Message) -> String {
    let (from, group) = (named(&message.from.name), named(&message.group.name));
    let text: String = match message.more.kind {
        MessageKind::File => format!("(the file {})", named(&message.text)),
        _ => message.text.replace('\n', "\n  "),
    };
    let mut said = format!("{MARK}{from} in {group}: {text}");
    if said.len() > TEXT_MAX {
        said.truncate(said.floor_char_boundary(TEXT_MAX - CUT.len()));
        said.push_str(CUT);
    }
    said
}

/// Behind what is too long for a message.
const CUT: &str = " … (cut)";

fn named(name: &str) -> String {
    let shown = name.chars().map(|c| match c {
        '“' | '”' | '"' | '\\' => c.escape_unicode().to_string(),
        c if c.is_control() || is_hidden(c) => c.escape_unicode().to_string(),
        c => c.into(),
    });
    format!("“{}”", shown.collect::<String>())
}
