//! Files: offers, chunks as they travel, and what is asked for.

use protocol::{
    file::{Fetch, FileName, Image, Layout, Reading, Refusal, Source, Step, refuse},
    ids::MemberId,
    limits::FILE_CHUNK,
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, text},
};

/// How much is shown of a frame that is longer.
const SHOWN: usize = 200;

/// Byte n of a file is n mod 251. Of no, one, some and more chunks than a power of two.
pub fn files() -> Json {
    let sizes = [0, 5, FILE_CHUNK, 2 * FILE_CHUNK + 5, 6 * FILE_CHUNK + 1];
    object([
        ("files", list(sizes.map(file))),
        (
            "refusals",
            list(
                [Refusal::Unknown, Refusal::Changed, Refusal::Busy { retry_ms: 5_000 }]
                    .map(|reason| hex(refuse(reason))),
            ),
        ),
    ])
}

fn file(size: usize) -> Json {
    let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    let mut drawn = Drawn::new(size as u64);
    let (source, random) = (read(&content, &mut drawn), drawn.json());
    let plain = source.offer().clone();
    let image = plain.clone().with_image(Image { width: 640, height: 480, blur: vec![7; 25] });
    let mut fetch = Fetch::new(plain.clone());
    fetch.add(MemberId([1; 32]), NOW).unwrap();
    let Some(Step::Send { frame: want, .. }) = fetch.poll() else { panic!("it asks") };
    let chunks = (0..plain.layout().chunks()).map(|index| {
        let frame = source.answer(index, part(&content, index)).unwrap();
        let piece = fetch.on_frame(&MemberId([1; 32]), &frame, NOW).unwrap();
        assert_eq!(piece.bytes, part(&content, index));
        object([
            ("frame_length", number(frame.len() as u64)),
            ("beginning", hex(&frame[..frame.len().min(SHOWN)])),
        ])
    });
    let chunks = list(chunks.collect::<Vec<_>>());
    object([
        ("size", number(size as u64)),
        ("name", text("plan.pdf")),
        ("random", random),
        ("offer", hex(&*plain.to_bytes())),
        ("offer_of_an_image", hex(&*image.to_bytes())),
        ("id", hex(plain.id().0)),
        ("want", hex(want)),
        ("chunks", chunks),
        ("stored", hex(fetch.save())),
    ])
}

fn read(content: &[u8], drawn: &mut Drawn) -> Source {
    let layout = Layout::new(content.len() as u64).unwrap();
    let mut reading = Reading::new(FileName::new("plan.pdf").unwrap(), layout, drawn);
    while reading.wants().is_some() {
        reading.take(part(content, reading.taken())).unwrap();
    }
    reading.finish().unwrap()
}

fn part(content: &[u8], index: u32) -> &[u8] {
    let rest = &content[index as usize * FILE_CHUNK..];
    &rest[..rest.len().min(FILE_CHUNK)]
}
