//! What came since the last notification, and what is said of it.

use std::collections::BTreeSet;

use node::api::types::{Message, MessageKind};

use crate::cli::show;

/// Messages that one notification tells of.
#[derive(Default)]
pub struct Gathered {
    count: u64,
    /// Of these, how many mention or answer this node's own member.
    for_me: u64,
    /// Ids of groups, as many as matter.
    groups: BTreeSet<String>,
    last: Option<Last>,
    /// How many people wait for a word of this node's person's.
    asked: u64,
    /// What the last of them asks.
    asks: Option<String>,
}

/// The last of them.
struct Last {
    group: String,
    from: String,
    text: String,
}

/// A notification.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// One line.
    pub title: String,
    /// Plain text.
    pub body: String,
}

/// Characters of a message that are shown.
const SHOWN: usize = 240;

impl Gathered {
    /// Nothing came.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.asked == 0
    }

    /// A message came.
    pub fn add(&mut self, message: &Message, me: &str) {
        self.count += 1;
        self.for_me += u64::from(is_for(message, me));
        // More than one are all the same.
        if self.groups.len() < 2 {
            self.groups.insert(message.group.id.clone());
        }
        self.last = Some(Last {
            group: show::safe(&message.group.name),
            from: show::name(&message.from),
            text: shown(message),
        });
    }

    /// Somebody waits to be let in, or to talk.
    pub fn ask(&mut self, asks: String) {
        self.asked += 1;
        self.asks = Some(asks);
    }

    /// What is said: of whom and what only with `content`.
    pub fn words(&self, content: bool) -> Words {
        let asked = show::count(self.asked, "question");
        if self.count == 0 {
            let body = self.asks.clone().filter(|_| content && self.asked == 1);
            let body = body.unwrap_or_else(|| format!("{asked} for you"));
            return Words { title: "Wattle".into(), body };
        }
        let count = show::count(self.count, "new message");
        let for_you = match self.for_me {
            0 => String::new(),
            n if n == self.count => ", for you".into(),
            n => format!(", {n} for you"),
        };
        let for_you = if self.asked > 0 { format!("{for_you}, and {asked}") } else { for_you };
        match &self.last {
            Some(last) if content => {
                let Last { group, from, text } = last;
                match (self.count, self.groups.len()) {
                    (1, _) => {
                        Words { title: format!("{from} in {group}{for_you}"), body: text.clone() }
                    }
                    (_, 1) => Words {
                        title: format!("{count} in {group}{for_you}"),
                        body: format!("{from}: {text}"),
                    },
                    _ => Words {
                        title: format!("{count}{for_you}"),
                        body: format!("{from} in {group}: {text}"),
                    },
                }
            }
            _ => Words { title: "Wattle".into(), body: format!("{count}{for_you}") },
        }
    }
}

/// Whether a message mentions a member, or answers it.
pub fn is_for(message: &Message, me: &str) -> bool {
    let more = &message.more;
    let answered = more.reply.as_ref().and_then(|to| to.from.as_ref());
    more.mentions.iter().chain(answered).any(|member| member.id == me)
}

/// A message, on one line.
fn shown(message: &Message) -> String {
    if let Some(file) = &message.file {
        return format!("[file] {}", show::safe(&file.name));
    }
    if message.more.deleted_by.is_some() {
        return "(deleted)".into();
    }
    if message.more.expired {
        return "(expired)".into();
    }
    if message.more.kind == MessageKind::Unknown {
        return "(a message that this version of wattle can't show)".into();
    }
    let words = message.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let more = if words.chars().count() > SHOWN { "…" } else { "" };
    let first: String = words.chars().take(SHOWN).collect();
    format!("{}{more}", show::safe(&first))
}

#[cfg(test)]
pub mod tests {
    use node::api::types::{Answered, Class, GroupRef, MemberRef, More};

    use super::*;

    pub fn member(id: &str, name: &str) -> MemberRef {
        MemberRef { id: id.into(), name: name.into() }
    }

    pub fn message(from: &str, text: &str, at: &str) -> Message {
        Message {
            v: 1,
            id: String::new(),
            seq: 1,
            place: String::new(),
            group: GroupRef { id: "tea".into(), name: "tea\u{1b}".into() },
            from: member("bb", from),
            mine: false,
            text: text.into(),
            at: at.into(),
            class: Class::Ok,
            late: false,
            ahead: false,
            shared_by: None,
            file: None,
            more: More::default(),
            delivery: None,
        }
    }

    fn of(messages: &[Message]) -> Gathered {
        let mut gathered = Gathered::default();
        messages.iter().for_each(|message| gathered.add(message, "aa"));
        gathered
    }

    fn words(messages: &[Message], content: bool) -> (String, String) {
        let Words { title, body } = of(messages).words(content);
        (title, body)
    }

    #[test]
    fn nothing_is_said_of_who_or_what_unless_it_is_asked_for() {
        let ben = || message("b\u{202e}en", "the  plan\nis this", "");
        let said = |title: &str, body: &str| (String::from(title), String::from(body));
        assert_eq!(words(&[ben()], false), said("Wattle", "1 new message"));
        assert_eq!(words(&[ben(), ben()], false), said("Wattle", "2 new messages"));
        let title = "b\\u{202e}en in tea\\u{1b}";
        assert_eq!(words(&[ben()], true), said(title, "the plan is this"));
        let title = "2 new messages in tea\\u{1b}";
        assert_eq!(words(&[ben(), ben()], true), said(title, "b\\u{202e}en: the plan is this"));
        let mut other = ben();
        other.group = GroupRef { id: "ops".into(), name: "ops".into() };
        let body = "b\\u{202e}en in ops: the plan is this";
        assert_eq!(words(&[ben(), other], true), said("2 new messages", body));
    }

    #[test]
    fn what_mentions_or_answers_somebody_is_for_them() {
        let plain = || message("ben", "hello", "");
        let (mut mention, mut answer) = (plain(), plain());
        mention.more.mentions.push(member("aa", "ana"));
        answer.more.reply =
            Some(Answered { from: Some(member("aa", "ana")), ..Answered::default() });
        assert!(is_for(&mention, "aa") && is_for(&answer, "aa") && !is_for(&plain(), "aa"));
        let body = |messages: &[Message]| words(messages, false).1;
        assert_eq!(body(&[mention]), "1 new message, for you");
        assert_eq!(body(&[answer, plain()]), "2 new messages, 1 for you");
    }

    #[test]
    fn who_waits_for_an_answer_is_told_of() {
        let mut gathered = Gathered::default();
        gathered.ask("ben would like to talk".into());
        assert_eq!(gathered.words(false).body, "1 question for you");
        assert_eq!(gathered.words(true).body, "ben would like to talk");
        gathered.add(&message("ben", "hello", ""), "aa");
        assert_eq!(gathered.words(false).body, "1 new message, and 1 question");
        gathered.ask("cleo waits to be let in".into());
        let Words { title, body } = gathered.words(true);
        assert_eq!(title, "ben in tea\\u{1b}, and 2 questions");
        assert_eq!(body, "hello");
    }

    #[test]
    fn a_long_text_is_cut_and_what_steers_is_shown_as_such() {
        let shown = super::shown(&message("ben", &format!("\u{7}{}", "ü".repeat(SHOWN)), ""));
        assert_eq!(shown, format!("\\u{{7}}{}…", "ü".repeat(SHOWN - 1)));
    }
}
