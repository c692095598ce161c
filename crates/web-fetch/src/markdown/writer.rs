//! Markdown written front to back: blank space collapses, gaps between blocks are made when the next text comes.

const MAX_DEPTH: usize = 12;
const MAX_MARKS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Writer {
    out: String,
    /// Line ends due before the next text.
    gap: usize,
    /// A blank is due before the next text.
    blank: bool,
    /// What the next line begins with, once: `# `, `- `.
    prefix: String,
    /// The number of the next item, for each open list.
    lists: Vec<Option<u32>>,
    quotes: usize,
    fences: usize,
    marks: Vec<Mark>,
    link: Option<Link>,
    has_cell: bool,
}

#[derive(Debug)]
struct Mark {
    sign: &'static str,
    /// Where its content begins.
    start: usize,
}

#[derive(Debug)]
struct Link {
    url: Option<String>,
    start: usize,
}

impl Writer {
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) -> String {
        self.close_link();
        while self.fences > 0 {
            self.close_fence();
        }
        let end = self.out.trim_end().len();
        self.out.truncate(end);
        self.out
    }

    pub(super) fn text(&mut self, text: &str) {
        if self.fences > 0 {
            self.verbatim(text);
            return;
        }
        let is_blank = |character: char| character.is_ascii_whitespace();
        if text.starts_with(is_blank) {
            self.blank = true;
        }
        for word in text.split(is_blank).filter(|word| !word.is_empty()) {
            self.begin();
            self.out.push_str(word);
            self.blank = true;
        }
        if !text.ends_with(is_blank) {
            self.blank = false;
        }
    }

    fn verbatim(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.begin();
        self.out.push_str(text);
    }

    /// Whatever is due before visible text.
    fn begin(&mut self) {
        if self.out.is_empty() {
            self.gap = 0;
            self.blank = false;
            self.margin();
        } else if self.gap > 0 {
            for line in (0..std::mem::take(&mut self.gap)).rev() {
                self.out.push('\n');
                if line > 0 && self.quotes > 0 {
                    self.out.push_str(">".repeat(self.quotes).as_str());
                }
            }
            self.blank = false;
            self.margin();
        } else if std::mem::take(&mut self.blank) && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
    }

    /// The start of a line: quotes, the depth of lists, the mark of an item.
    fn margin(&mut self) {
        for _ in 0..self.quotes {
            self.out.push_str("> ");
        }
        for _ in 1..self.lists.len() {
            self.out.push_str("  ");
        }
        let prefix = std::mem::take(&mut self.prefix);
        self.out.push_str(&prefix);
    }

    /// The next text begins a block, this many line ends below.
    pub(super) fn block(&mut self, gap: usize) {
        if self.fences == 0 {
            self.gap = self.gap.max(gap);
            self.has_cell = false;
        }
    }

    pub(super) fn line(&mut self) {
        if self.fences > 0 {
            self.verbatim("\n");
        } else {
            self.gap = self.gap.max(1);
        }
    }

    pub(super) fn heading(&mut self, level: usize) {
        self.block(2);
        self.prefix = format!("{} ", "#".repeat(level));
    }

    pub(super) fn rule(&mut self) {
        self.block(2);
        self.begin();
        self.out.push_str("---");
        self.block(2);
    }

    pub(super) fn open_list(&mut self, start: Option<u32>) {
        self.block(if self.lists.is_empty() { 2 } else { 1 });
        if self.lists.len() < MAX_DEPTH {
            self.lists.push(start);
        }
    }

    pub(super) fn close_list(&mut self) {
        self.lists.pop();
        self.block(if self.lists.is_empty() { 2 } else { 1 });
    }

    pub(super) fn item(&mut self) {
        self.block(1);
        self.prefix = match self.lists.last_mut() {
            Some(Some(number)) => {
                let prefix = format!("{number}. ");
                *number = number.saturating_add(1);
                prefix
            }
            Some(None) | None => "- ".to_owned(),
        };
    }

    pub(super) fn open_quote(&mut self) {
        self.block(2);
        self.quotes = (self.quotes + 1).min(MAX_DEPTH);
    }

    pub(super) fn close_quote(&mut self) {
        self.quotes = self.quotes.saturating_sub(1);
        self.block(2);
    }

    pub(super) fn open_fence(&mut self) {
        if self.fences == 0 {
            self.block(2);
            self.begin();
            self.out.push_str("```\n");
        }
        self.fences += 1;
    }

    pub(super) fn close_fence(&mut self) {
        let was_open = self.fences > 0;
        self.fences = self.fences.saturating_sub(1);
        if was_open && self.fences == 0 {
            if !self.out.ends_with('\n') {
                self.out.push('\n');
            }
            self.out.push_str("```");
            self.block(2);
        }
    }

    pub(super) fn mark(&mut self, sign: &'static str) {
        if self.fences > 0 || self.marks.len() >= MAX_MARKS {
            return;
        }
        self.begin();
        self.out.push_str(sign);
        self.marks.push(Mark {
            sign,
            start: self.out.len(),
        });
    }

    /// A sign that is not open is not closed; one around nothing is taken back.
    pub(super) fn unmark(&mut self, sign: &str) {
        let Some(at) = self.marks.iter().rposition(|mark| mark.sign == sign) else {
            return;
        };
        let mark = self.marks.remove(at);
        if self.out.len() > mark.start {
            self.out.push_str(mark.sign);
            return;
        }
        self.out.truncate(mark.start - mark.sign.len());
        self.blank |= self.out.ends_with(' ');
        let end = self.out.trim_end_matches(' ').len();
        if end > 0 && !self.out[..end].ends_with('\n') {
            self.out.truncate(end);
        }
    }

    pub(super) fn open_link(&mut self, url: Option<String>) {
        self.close_link();
        if self.fences > 0 {
            return;
        }
        self.begin();
        if url.is_some() {
            self.out.push('[');
        }
        self.link = Some(Link {
            url,
            start: self.out.len(),
        });
    }

    pub(super) fn close_link(&mut self) {
        let Some(Link {
            url: Some(url),
            start,
        }) = self.link.take()
        else {
            return;
        };
        if self.out.len() > start {
            self.out.push_str("](");
            self.out.push_str(&url);
            self.out.push(')');
        } else {
            self.out.truncate(start - 1);
        }
    }

    pub(super) fn image(&mut self, words: &str, source: Option<&str>) {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        self.begin();
        match source {
            Some(source) => {
                self.out.push_str("![");
                self.out.push_str(&words);
                self.out.push_str("](");
                self.out.push_str(source);
                self.out.push(')');
            }
            None => self.out.push_str(&words),
        }
    }

    pub(super) fn row(&mut self) {
        self.block(1);
    }

    pub(super) fn cell(&mut self) {
        if self.fences == 0 && std::mem::replace(&mut self.has_cell, true) {
            self.begin();
            self.out.push_str(" |");
            self.blank = true;
        }
    }
}
