//! One stream on which a member is given a file.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc, time::Duration};

use protocol::{
    file::{Asked, Refusal, Serving, Source, refuse},
    ids::{FileId, MemberId},
};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::{Files, sources::Sources};
use crate::{
    core::Given,
    driver::Handle,
    net::{FileEnd, FileReader, FileStream, FileWriter},
};

/// A file that is being given, to whomever.
pub(super) struct Open {
    file: File,
    source: Source,
}

/// How long a member may ask for nothing.
const IDLE: Duration = Duration::from_secs(60);
/// How often it is looked whether the member may still have it.
const LOOK: Duration = Duration::from_secs(5);
/// Requests that wait to be read: with all that they may ask for.
const REQUESTS: usize = 8;

/// Gives a member what it asks for, until it has it; says to whom something was given, if it was.
pub(super) async fn give(
    files: Files,
    sources: Sources<Open>,
    handle: Handle,
    stream: FileStream,
) -> Option<MemberId> {
    let member = stream.member();
    let (mut reader, mut writer) = stream.split();
    let first = timeout(IDLE, reader.read(FileEnd::Giver)).await;
    let Ok(Some(Ok(asked))) = first.map(|frame| frame.map(|frame| Asked::read(&frame))) else {
        return None;
    };
    let mut gave = false;
    let file = asked.file();
    let open = match may_have(&handle, member, file).await {
        true => sources.get(file, open(files, &handle, member, file)).await,
        false => Err(Refusal::Unknown),
    };
    let refused = match open {
        Ok(open) => {
            let Ok(serving) = asked.serve(&open.source) else { return None };
            let (requests, asked) = mpsc::channel(REQUESTS);
            let mut giving = Giving { handle, member, file, open, serving, gave: false };
            let refused = tokio::select! {
                () = hear(&mut reader, requests) => None,
                refused = giving.run(&mut writer, asked) => refused,
            };
            gave = giving.gave;
            refused
        }
        Err(reason) => Some(reason),
    };
    if refused == Some(Refusal::Changed) {
        sources.forget(file);
    }
    if let Some(reason) = refused
        && writer.write(&refuse(reason)).await.is_ok()
    {
        writer.close().await;
    }
    gave.then_some(member)
}

struct Giving {
    handle: Handle,
    member: MemberId,
    file: FileId,
    open: Arc<Open>,
    serving: Serving,
    /// Whether a chunk was given.
    gave: bool,
}

impl Giving {
    /// Answers; at the end it says what is to be said of why it ends, if anything.
    async fn run(
        &mut self,
        writer: &mut FileWriter,
        mut requests: mpsc::Receiver<Vec<u8>>,
    ) -> Option<Refusal> {
        let mut looked = Instant::now();
        loop {
            while let Ok(frame) = requests.try_recv() {
                self.serving.on_frame(&frame).ok()?;
            }
            let Some(index) = self.serving.poll() else {
                let frame = timeout(IDLE, requests.recv()).await.ok()??;
                self.serving.on_frame(&frame).ok()?;
                continue;
            };
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if !may_have(&self.handle, self.member, self.file).await {
                    return Some(Refusal::Unknown);
                }
            }
            let open = Arc::clone(&self.open);
            let answer = spawn_blocking(move || open.answer(index)).await.ok()?;
            let Some(frame) = answer else { return Some(Refusal::Changed) };
            writer.write(&frame).await.ok()?;
            self.gave = true;
        }
    }
}

impl Open {
    /// The frame with one chunk; none where the file is not what it was.
    fn answer(&self, index: u32) -> Option<Vec<u8>> {
        let layout = self.source.offer().layout();
        let mut chunk = vec![0; layout.len(index)?];
        self.file.read_exact_at(&mut chunk, layout.offset(index)).ok()?;
        self.source.answer(index, &chunk).ok()
    }
}

async fn hear(reader: &mut FileReader, requests: mpsc::Sender<Vec<u8>>) {
    while let Some(frame) = reader.read(FileEnd::Giver).await {
        if requests.send(frame).await.is_err() {
            return;
        }
    }
}

async fn may_have(handle: &Handle, member: MemberId, file: FileId) -> bool {
    let may = handle.call(move |core, _| core.may_have_file(&member, file)).await;
    matches!(may, Ok(Ok(true)))
}

async fn open(
    files: Files,
    handle: &Handle,
    member: MemberId,
    file: FileId,
) -> Result<Open, Refusal> {
    let given = handle.call(move |core, _| core.given_file(&member, file)).await;
    let Ok(Ok(Some(given))) = given else { return Err(Refusal::Unknown) };
    let opened = spawn_blocking(move || load(&files, given)).await;
    opened.unwrap_or(Err(Refusal::Unknown))
}

fn load(files: &Files, given: Given) -> Result<Open, Refusal> {
    let Given { offer, leaves, path } = given;
    let size = offer.layout().size();
    let source = Source::load(offer, &leaves).map_err(|_| Refusal::Unknown)?;
    match super::open(&files.at(&path)) {
        Ok(Some((file, now))) if now == size => Ok(Open { file, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::Unknown),
        _ => Err(Refusal::Changed),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::{Shared, read};

    #[test]
    fn what_is_not_there_any_more_is_not_known_and_what_is_another_file_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { data_dir: dir.path().into(), shared: Arc::<Shared>::default() };
        let path = dir.path().join("plan.pdf");
        fs::write(&path, b"bytes").unwrap();
        let made = read::read(&path).unwrap();
        let load = || {
            let (offer, leaves) = (made.offer.clone(), made.leaves.clone());
            load(&files, Given { offer, leaves, path: "plan.pdf".into() }).err()
        };
        assert_eq!(load(), None);
        fs::write(&path, b"longer by far").unwrap();
        assert_eq!(load(), Some(Refusal::Changed));
        fs::remove_file(&path).unwrap();
        assert_eq!(load(), Some(Refusal::Unknown));
    }
}
