//! The desktop's notifications, over the session's D-Bus ([Desktop Notifications Specification]).
//!
//! [Desktop Notifications Specification]: https://specifications.freedesktop.org/notification-spec/latest/

use std::{collections::HashMap, time::Duration};

use tokio::time::timeout;
use zbus::{Connection, Variant};

use super::gathered::Words;
use crate::cli::exit::{Exit, Failure};

/// A desktop that shows notifications.
pub struct Desktop {
    bus: Connection,
    /// It takes markup in a body, so that text is escaped for it.
    markup: bool,
    /// What is shown says who wrote what: the desktop is asked not to keep it.
    content: bool,
}

/// Who shows them: its name on the bus, and its interface.
const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
/// Where it is.
const PATH: &str = "/org/freedesktop/Notifications";
/// How long an answer is waited for, the bus's own too.
const PATIENCE: Duration = Duration::from_secs(10);

impl Desktop {
    /// That of the session in which this runs.
    pub async fn connect(content: bool) -> Result<Self, Failure> {
        let bus = in_time(Connection::session()).await.map_err(|why| {
            let hint = "run it in a session of a desktop; a terminal has `wattle tail`";
            Failure::new(Exit::Refused, format!("there is no session bus here: {why}"), hint)
        })?;
        let mut desktop = Self { bus, markup: false, content };
        let able: Vec<String> = desktop.call("GetCapabilities", &()).await?;
        desktop.markup = able.iter().any(|it| it == "body-markup");
        Ok(desktop)
    }

    /// Shows one.
    pub async fn show(&mut self, words: &Words) -> Result<(), Failure> {
        let body = if self.markup { escaped(&words.body) } else { words.body.clone() };
        let mut hints = HashMap::from([("category", Variant::from("im.received"))]);
        if self.content {
            hints.insert("transient", Variant::from(true));
        }
        let (replaces, icon, actions, lasting) = (0u32, "", [""; 0], -1i32);
        let title = words.title.as_str();
        let what = ("Wattle", replaces, icon, title, body.as_str(), &actions[..], hints, lasting);
        let _number: u32 = self.call("Notify", &what).await?;
        Ok(())
    }

    async fn call<T, U>(&self, method: &str, body: &T) -> Result<U, Failure>
    where
        T: serde::Serialize + zbus::zvariant::DynamicType,
        U: for<'a> zbus::zvariant::DynamicDeserialize<'a>,
    {
        let asked =
            self.bus.call_method(Some(NOTIFICATIONS), PATH, Some(NOTIFICATIONS), method, body);
        let answer = in_time(asked).await;
        answer.and_then(|it| it.body().deserialize().map_err(|error| error.to_string())).map_err(|why| {
            let hint = "is a notification service running? most desktops have one, dunst and mako are two";
            Failure::new(Exit::Refused, format!("the desktop shows no notification: {why}"), hint)
        })
    }
}

/// What was asked for; or in words why it did not come.
async fn in_time<T>(asked: impl Future<Output = zbus::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

/// A text where a desktop takes markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_text_is_markup() {
        assert_eq!(super::escaped("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }
}
