//! QR codes on a terminal.

use std::{
    env,
    io::{self, IsTerminal},
};

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::show;

/// Shows a text as a code on standard error, where that is a terminal with colours: without these nobody knows which
/// of the two is dark. Says whether it was.
pub fn show(text: &str) -> bool {
    let colours = env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    io::stderr().is_terminal() && colours && write(text)
}

/// Writes it to standard error, whatever that is; not where the text is too long for a code.
pub fn write(text: &str) -> bool {
    let code = code(text);
    if let Some(code) = &code {
        show::words(code);
    }
    code.is_some()
}

/// What is said where [`show()`] shows nothing.
pub const HIDDEN: &str =
    "no QR code is shown: standard error is no terminal with colours, or the code is too long";

/// A code in half blocks, with its quiet zone: dark on light, whatever colours the terminal has.
fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let code = code.render::<Dense1x2>().quiet_zone(true).build();
    let lines = code.lines().map(|line| format!("\u{1b}[30;107m{line}\u{1b}[0m"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use protocol::{fingerprint::code_of_pair, ids::MemberId};

    use super::*;

    #[test]
    fn the_code_of_a_pair_fits_a_terminal() {
        let code = code(&code_of_pair(&MemberId([0xab; 32]), &MemberId([0xcd; 32]))).unwrap();
        let wide = |line: &str| line.chars().count() - "\u{1b}[30;107m\u{1b}[0m".len();
        assert!(code.lines().count() <= 24, "{}", code.lines().count());
        assert!(code.lines().all(|line| wide(line) <= 48), "{code}");
    }
}
