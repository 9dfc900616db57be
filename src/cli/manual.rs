//! What help and man page say beyond the options, from one table.

use std::fmt::Write as _;

use super::{CONFIGURATION, DATA, IO, NO_INPUT, PERMISSION, TEMPORARY, USAGE, check, send};

/// Terms and what they mean, under a title.
pub struct Section {
    pub title: &'static str,
    pub items: Vec<(String, &'static str)>,
}

/// What the help of a subcommand, or of the whole as `downlinkd`, ends with.
pub fn help(name: &str) -> String {
    text(&sections(name))
}

/// The sections of a subcommand, or of the whole as `downlinkd`.
pub fn sections(name: &str) -> Vec<Section> {
    match name {
        "downlinkd" => vec![
            exit_status(&[
                (0, "it did what it was told"),
                (1, "it failed, or the answer is no; `send` tells its endings apart"),
                (USAGE, "the command line is wrong"),
                (DATA, "the journal is damaged, or of a newer version"),
                (NO_INPUT, "there is no journal"),
                (IO, "the disk or the file system failed"),
                (TEMPORARY, "another process has the journal"),
                (PERMISSION, "the journal is another user's"),
                (CONFIGURATION, "something in the configuration is wrong"),
            ]),
            section(
                "Files",
                &[
                    (
                        "/etc/downlinkd/downlinkd.toml",
                        "the configuration; it has every key with its default",
                    ),
                    (
                        "/etc/downlinkd/conf.d/*.toml",
                        "read after it, in order of name; later values replace earlier ones",
                    ),
                    ("/etc/downlinkd/keys/", "the issuers' secrets, readable by the agent alone"),
                    ("/var/lib/downlinkd/journal/", "the journal"),
                    (
                        "/run/downlinkd/api.sock",
                        "the running agent; who may open it is an operator",
                    ),
                ],
            ),
            section(
                "Environment",
                &[(
                    "DOWNLINKD_SECTION__KEY",
                    "a value of the configuration, read after the files: DOWNLINKD_MQTT__URL is \
                     [mqtt] url",
                )],
            ),
        ],
        "send" => {
            vec![exit_status(
                &[send::Ending::TABLE, &[SELF_FAILED, WRONG_USAGE, MISCONFIGURED]].concat(),
            )]
        }
        "check" => vec![exit_status(&[check::EXIT_STATUS, &[WRONG_USAGE, MISCONFIGURED]].concat())],
        _ => Vec::new(),
    }
}

const SELF_FAILED: (u8, &str) = (1, "the program itself could not run");
const WRONG_USAGE: (u8, &str) = (USAGE, "the command line is wrong; nothing was sent");
const MISCONFIGURED: (u8, &str) =
    (CONFIGURATION, "something in the configuration, or a key's file, is wrong");

fn exit_status(codes: &[(u8, &'static str)]) -> Section {
    let mut codes = codes.to_vec();
    codes.sort_by_key(|(code, _)| *code);
    let items = codes.into_iter().map(|(code, text)| (code.to_string(), text)).collect();
    Section { title: "Exit status", items }
}

fn section(title: &'static str, items: &[(&str, &'static str)]) -> Section {
    Section { title, items: items.iter().map(|(term, text)| ((*term).to_owned(), *text)).collect() }
}

/// As clap writes its own lists.
fn text(sections: &[Section]) -> String {
    let mut text = String::new();
    for Section { title, items } in sections {
        let width = items.iter().map(|(term, _)| term.len()).max().unwrap_or_default();
        let _ = writeln!(text, "{title}:");
        for (term, meaning) in items {
            let _ = writeln!(text, "  {term:<width$}  {meaning}");
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_them_in_columns() {
        let text =
            text(&[section("Files", &[("/a", "A"), ("/long", "B")]), exit_status(&[(0, "C")])]);
        assert_eq!(text, "Files:\n  /a     A\n  /long  B\n\nExit status:\n  0  C");
    }
}
