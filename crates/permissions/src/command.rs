//! Shell command lines taken apart far enough to judge them, and no further.
//!
//! A line is either a list of simple commands whose words are plain text, or it is opaque: `split` says `None` and
//! nothing but an explicit rule allows it. Erring on that side costs a question, never safety.

use crate::Directories;

/// One simple command of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subcommand {
    text: String,
    words: Vec<String>,
    /// Files it writes through a redirection; `/dev/null` and other descriptors do not count.
    writes: Vec<String>,
    /// Some word holds an expansion, so what it says is not known.
    expands: bool,
}

/// The simple commands of a line; `None` where it holds substitutions, functions, here-documents, or a quote that does not end.
pub(crate) fn split(line: &str) -> Option<Vec<Subcommand>> {
    let mut scanner = Scanner::default();
    scanner.scan(line)?;
    Some(scanner.commands)
}

/// Words that begin a compound command.
const KEYWORDS: [&str; 13] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "function", "time",
];

#[derive(Default)]
struct Scanner {
    commands: Vec<Subcommand>,
    words: Vec<String>,
    word: Option<String>,
    writes: Vec<String>,
    expects_target: bool,
    expands: bool,
}

impl Scanner {
    fn scan(&mut self, line: &str) -> Option<()> {
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\'' => {
                    self.word.get_or_insert_default();
                    loop {
                        match characters.next()? {
                            '\'' => break,
                            quoted => self.push(quoted),
                        }
                    }
                }
                '"' => {
                    self.word.get_or_insert_default();
                    loop {
                        match characters.next()? {
                            '"' => break,
                            '\\' => self.push(characters.next()?),
                            '`' => return None,
                            '$' => self.expansion(characters.peek().copied())?,
                            quoted => self.push(quoted),
                        }
                    }
                }
                '\\' => match characters.next()? {
                    '\n' => {}
                    escaped => self.push(escaped),
                },
                '$' => self.expansion(characters.peek().copied())?,
                '`' | '(' | ')' | '{' | '}' | '<' => return None,
                '#' if self.word.is_none() => return None,
                '>' => {
                    if self
                        .word
                        .as_ref()
                        .is_some_and(|word| word.chars().all(|digit| digit.is_ascii_digit()))
                    {
                        self.word = None;
                    }
                    self.end_word();
                    characters.next_if_eq(&'>');
                    if characters.next_if_eq(&'&').is_some() {
                        let target = characters.next()?;
                        if !target.is_ascii_digit()
                            || characters.peek().is_some_and(char::is_ascii_alphanumeric)
                        {
                            return None;
                        }
                    } else {
                        characters.next_if_eq(&'|');
                        self.expects_target = true;
                    }
                }
                ';' | '\n' => self.end_command()?,
                '&' => {
                    if characters.next_if_eq(&'>').is_some() {
                        self.end_word();
                        self.expects_target = true;
                    } else {
                        characters.next_if_eq(&'&');
                        self.end_command()?;
                    }
                }
                '|' => {
                    if characters.next_if_eq(&'|').is_none() {
                        characters.next_if_eq(&'&');
                    }
                    self.end_command()?;
                }
                blank if blank.is_whitespace() => self.end_word(),
                plain => self.push(plain),
            }
        }
        self.end_command()
    }

    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn expansion(&mut self, next: Option<char>) -> Option<()> {
        if matches!(next, Some('(' | '{' | '\'' | '"' | '[')) {
            return None;
        }
        self.expands |= next.is_some_and(|next| next.is_alphanumeric() || "_?!#@*$-".contains(next));
        self.push('$');
        Some(())
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.expects_target) {
            if word != "/dev/null" {
                self.writes.push(word);
            }
        } else {
            self.words.push(word);
        }
    }

    fn end_command(&mut self) -> Option<()> {
        self.end_word();
        if self.expects_target {
            return None;
        }
        let words = std::mem::take(&mut self.words);
        let writes = std::mem::take(&mut self.writes);
        let expands = std::mem::take(&mut self.expands);
        if words
            .first()
            .is_some_and(|word| KEYWORDS.contains(&word.as_str()))
        {
            return None;
        }
        if !words.is_empty() || !writes.is_empty() {
            self.commands.push(Subcommand {
                text: words.join(" "),
                words,
                writes,
                expands,
            });
        }
        Some(())
    }
}

/// Commands that only read and print, whatever their options.
const READERS: [&str; 27] = [
    "basename", "cat", "cmp", "comm", "cut", "df", "diff", "dirname", "du", "echo", "false", "file", "grep",
    "head", "id", "ls", "nl", "printf", "pwd", "realpath", "stat", "tail", "tr", "true", "uname", "wc",
    "which",
];
const GIT_READERS: [&str; 8] = [
    "status",
    "log",
    "diff",
    "show",
    "rev-parse",
    "ls-files",
    "blame",
    "describe",
];

impl Subcommand {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn redirects(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Everything in a line that could be a command, however it is hidden: for rules that forbid.
    pub(crate) fn every_in(line: &str) -> Vec<Self> {
        let openings = ['`', '(', ')', '{', '}', ';', '\n', '|', '&'];
        line.split(openings)
            .map(|part| part.trim_start_matches(['$', '!']).trim())
            .filter(|part| !part.is_empty())
            .flat_map(|part| {
                let words: Vec<&str> = part.split_whitespace().collect();
                let skipped = words.iter().take_while(|word| is_prefix(word)).count();
                [words.join(" "), words[skipped..].join(" ")]
            })
            .map(|text| {
                let unquoted = text.replace(['"', '\'', '\\'], "");
                Self {
                    text: unquoted,
                    words: Vec::new(),
                    writes: Vec::new(),
                    expands: true,
                }
            })
            .collect()
    }

    /// Only reads, and only inside the session's directories.
    pub(crate) fn is_harmless(&self, directories: &Directories) -> bool {
        if self.redirects() {
            return false;
        }
        let Some((name, arguments)) = self.words.split_first() else {
            return false;
        };
        match name.as_str() {
            "echo" | "printf" if self.expands => true,
            _ if self.expands => false,
            "echo" | "printf" | "true" | "false" | "pwd" | "uname" | "id" | "which" => true,
            "cd" => arguments.len() == 1 && paths_are_inside(arguments, directories),
            "git" => {
                arguments
                    .first()
                    .is_some_and(|command| GIT_READERS.contains(&command.as_str()))
                    && !arguments.iter().any(|word| is_git_escape(word))
                    && paths_are_inside(&arguments[1..], directories)
            }
            "find" => {
                let acts = [
                    "-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprint0", "-fprintf",
                    "-fls",
                ];
                !arguments.iter().any(|word| acts.contains(&word.as_str()))
                    && paths_are_inside(arguments, directories)
            }
            "sort" | "uniq" => {
                let writes = |word: &String| {
                    word.starts_with("-o") || word.starts_with("--output") || word.starts_with("--compress")
                };
                !arguments.iter().any(writes)
                    && (name == "sort" || arguments.len() < 2)
                    && paths_are_inside(arguments, directories)
            }
            "rg" => {
                !arguments
                    .iter()
                    .any(|word| word.starts_with("--pre") || word.starts_with("--hostname-bin"))
                    && paths_are_inside(arguments, directories)
            }
            reader => READERS.contains(&reader) && paths_are_inside(arguments, directories),
        }
    }

    /// Makes, moves or removes files, and only inside the session's directories.
    pub(crate) fn edits_only_inside(&self, directories: &Directories) -> bool {
        let editors = ["mkdir", "touch", "rm", "rmdir", "mv", "cp"];
        self.words
            .first()
            .is_some_and(|name| editors.contains(&name.as_str()))
            && !self.expands
            && !self.words.iter().any(|word| {
                word.contains('*') || word.starts_with("--target-directory") || word.starts_with("-t")
            })
            && paths_are_plain(&self.words[1..], directories)
            && paths_are_plain(&self.writes, directories)
    }
}

/// Words before a command's own name: assignments and programs that run another.
fn is_prefix(word: &str) -> bool {
    let runners = [
        "sudo", "env", "command", "exec", "nohup", "time", "nice", "xargs", "timeout", "if", "then", "do",
        "else", "while",
    ];
    runners.contains(&word)
        || word
            .split_once('=')
            .is_some_and(|(name, _)| !name.is_empty() && !name.starts_with('-'))
}

fn is_git_escape(word: &str) -> bool {
    [
        "--output",
        "--ext-diff",
        "--textconv",
        "-O",
        "--no-index",
        "--contents",
    ]
    .iter()
    .any(|option| word.starts_with(option))
}

fn paths_are_plain(words: &[String], directories: &Directories) -> bool {
    paths_are_inside(words, directories)
        && words
            .iter()
            .all(|word| word.starts_with('-') || directories.contain_plain(word))
}

/// Every word that could be a path, also behind an option's `=`, lies inside.
fn paths_are_inside(words: &[String], directories: &Directories) -> bool {
    words.iter().all(|word| {
        let value = if word.starts_with('-') {
            word.split_once('=').map_or("", |(_, value)| value)
        } else {
            word
        };
        // Short options may hold a path right behind their letter.
        let glued = word.starts_with('-') && word.contains('/') && !word.contains('=');
        !glued && !value.starts_with('~') && (value.is_empty() || directories.contain(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        split(line).map(|commands| commands.into_iter().map(|command| command.text).collect())
    }

    #[test]
    fn plain_lines_are_taken_apart() {
        for (line, expected) in [
            ("ls -la", &["ls -la"][..]),
            ("a && b || c; d | e & f\ng", &["a", "b", "c", "d", "e", "f", "g"]),
            ("echo 'a; b' \"c && d\" e\\;f", &["echo a; b c && d e;f"]),
            ("make 2>&1 | tail -5", &["make", "tail -5"]),
            ("make >/dev/null 2>&1", &["make"]),
            ("", &[]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_could_hide_a_command_is_opaque() {
        for line in [
            "echo $(rm a)",
            "echo `rm a`",
            "echo \"$(rm a)\"",
            "cat <(rm a)",
            "(rm a)",
            "{ rm a; }",
            "f() { rm a; }",
            "echo 'unfinished",
            "cat <<E\nE",
            "if true; then rm a; fi",
            "echo ${a:=b}",
            "echo $'a'",
            "a >",
            "a # b",
        ] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn harmless_commands_read_inside_only() {
        let directories = Directories::new("/w".into(), Vec::new());
        for (line, expected) in [
            ("cat a.txt", true),
            ("cat /etc/passwd", false),
            ("cat ../x", false),
            ("cat ~/.ssh/id", false),
            ("cat $HOME/.ssh/id", false),
            ("echo $HOME", true),
            ("echo a > b", false),
            ("grep -r x --file=/etc/passwd .", false),
            ("grep -f/etc/passwd .", false),
            ("find . -name '*.rs'", true),
            ("find . -delete", false),
            ("git log --oneline", true),
            ("git -c core.pager=x log", false),
            ("git diff --output=x", false),
            ("git push", false),
            ("sort -o a b", false),
            ("uniq a b", false),
            ("rg --pre=x y", false),
            ("cd sub", true),
            ("cd /", false),
            ("FOO=1 ls", false),
        ] {
            let commands = split(line).unwrap();
            assert_eq!(
                commands.iter().all(|command| command.is_harmless(&directories)),
                expected,
                "{line}"
            );
        }
    }
}
