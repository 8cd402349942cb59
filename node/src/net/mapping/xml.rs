//! What routers' documents say: the elements that end, each with the text before its end.
//!
//! > A document is in memory and bounded before it is read, and is gone through once. No entity is followed but the five
//! > that every document has, and nothing recurses.

use quick_xml::{
    Reader,
    escape::resolve_xml_entity,
    events::{BytesRef, Event},
};

/// An element that ends: its name without any prefix, and its text, or what followed the last one within it.
pub(super) type Ended = (String, String);

/// The elements of a document, in the order in which they end; none after what can't be read.
pub(super) fn ended(document: &str) -> impl Iterator<Item = Ended> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().allow_dangling_amp = true;
    let mut text = String::new();
    std::iter::from_fn(move || {
        loop {
            match reader.read_event().ok()? {
                Event::Start(_) => text.clear(),
                Event::Text(some) => text.push_str(&some),
                Event::CData(some) => text.push_str(&some),
                Event::GeneralRef(entity) => text.push_str(&meant(&entity)?),
                Event::End(end) => {
                    let name = end.local_name().into_inner().to_owned();
                    let said = text.trim().to_owned();
                    text.clear();
                    return Some((name, said));
                }
                Event::Eof => return None,
                _ => {}
            }
        }
    })
}

/// The text of the first element of this name.
pub(super) fn text(document: &str, name: &str) -> Option<String> {
    ended(document).find_map(|(named, text)| (named == name).then_some(text))
}

fn meant(entity: &BytesRef<'_>) -> Option<String> {
    if let Some(char) = entity.resolve_char_ref().ok()? {
        return Some(char.into());
    }
    resolve_xml_entity(entity).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_as_they_end_with_their_texts() {
        let document = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><s:a xmlns:s='x:y'>\
                        <!-- <b>no</b> --><b> 1 &amp;lt;&#33; </b><c/><d><![CDATA[<e>no</e>]]></d></s:a>";
        let read: Vec<Ended> = ended(document).collect();
        let is = [("b", "1 &lt;!"), ("c", ""), ("d", "<e>no</e>"), ("a", "")];
        assert_eq!(read, is.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(text(document, "b").unwrap(), "1 &lt;!");
        assert_eq!(text(document, "e"), None);
    }

    #[test]
    fn a_document_that_is_none_has_no_elements_and_one_of_any_depth_is_read() {
        for none in
            ["", "a", "<", "<!--", "<a", "<![CDATA[<a>", "\u{0}<\u{0}", "<a>&b;</a>", "</a>"]
        {
            assert_eq!(ended(none).next(), None, "{none:?}");
        }
        let deep = format!("{}{}", "<a>".repeat(10_000), "</a>".repeat(10_000));
        assert_eq!(ended(&deep).count(), 10_000);
        // As it may come of a router whose documents are not well formed: up to there it is read.
        assert_eq!(ended("<a><b>1</b></c><b>2</b></a>").count(), 1);
    }
}
