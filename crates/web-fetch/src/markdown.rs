//! HTML as Markdown: what a reader sees, without what a browser needs.
//!
//! The page is taken token by token and no tree is built, so that neither depth nor disorder costs anything: a tag that
//! is never closed, or never opened, changes the look of some text and loses none.

mod writer;

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use url::Url;
use writer::Writer;

/// Elements whose content is not for readers.
const UNSEEN: [&str; 6] = ["script", "style", "template", "svg", "iframe", "object"];

const MAX_URL: usize = 2_000;

/// The text, at most about `limit` bytes of it, and whether the page went on.
pub(crate) fn of_html(html: &str, base: &Url, limit: usize) -> (String, bool) {
    let mut emitter = DefaultEmitter::<()>::default();
    emitter.naively_switch_states(true);
    let mut page = Reader {
        writer: Writer::default(),
        base,
        unseen: None,
        is_title: false,
    };
    let mut is_cut = false;
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        if page.writer.len() >= limit {
            is_cut = true;
            break;
        }
        match token {
            Token::StartTag(tag) => page.open(&tag),
            Token::EndTag(tag) => page.close(&lossy(&tag.name)),
            Token::String(text) => page.text(&lossy(&text.value)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    let mut text = page.writer.finish();
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        is_cut = true;
    }
    (text, is_cut)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Reader<'a> {
    writer: Writer,
    base: &'a Url,
    /// The element that hides what is in it, and how many of its name are open.
    unseen: Option<(String, usize)>,
    is_title: bool,
}

impl Reader<'_> {
    fn open(&mut self, tag: &StartTag<()>) {
        let name = lossy(&tag.name);
        if let Some((hidden, depth)) = &mut self.unseen {
            if *hidden == name && !tag.self_closing {
                *depth += 1;
            }
            return;
        }
        if UNSEEN.contains(&name.as_str()) {
            if !tag.self_closing {
                self.unseen = Some((name, 1));
            }
            return;
        }
        let attribute = |name: &str| {
            let value = tag.attributes.get(name.as_bytes())?;
            Some(lossy(value))
        };
        let writer = &mut self.writer;
        match name.as_str() {
            "title" => {
                self.is_title = true;
                writer.heading(1);
            }
            "h1" => writer.heading(1),
            "h2" => writer.heading(2),
            "h3" => writer.heading(3),
            "h4" => writer.heading(4),
            "h5" => writer.heading(5),
            "h6" => writer.heading(6),
            "br" => writer.line(),
            "hr" => writer.rule(),
            "ul" | "menu" => writer.open_list(None),
            "ol" => writer.open_list(Some(
                attribute("start")
                    .and_then(|start| start.parse().ok())
                    .unwrap_or(1),
            )),
            "li" => writer.item(),
            "blockquote" => writer.open_quote(),
            "pre" => writer.open_fence(),
            "code" | "kbd" | "samp" => writer.mark("`"),
            "b" | "strong" => writer.mark("**"),
            "i" | "em" => writer.mark("*"),
            "a" => {
                let url = attribute("href").and_then(|href| self.absolute(&href));
                self.writer.open_link(url);
            }
            "img" => {
                if let Some(words) = attribute("alt").filter(|words| !words.trim().is_empty()) {
                    let source = attribute("src").and_then(|source| self.absolute(&source));
                    self.writer.image(&words, source.as_deref());
                }
            }
            "td" | "th" => writer.cell(),
            "tr" => writer.row(),
            other if is_block(other) => writer.block(gap(other)),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((hidden, depth)) = &mut self.unseen {
            if hidden == name {
                *depth -= 1;
                if *depth == 0 {
                    self.unseen = None;
                }
            }
            return;
        }
        let writer = &mut self.writer;
        match name {
            "title" => {
                self.is_title = false;
                writer.block(2);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => writer.block(2),
            "ul" | "menu" | "ol" => writer.close_list(),
            "blockquote" => writer.close_quote(),
            "pre" => writer.close_fence(),
            "code" | "kbd" | "samp" => writer.unmark("`"),
            "b" | "strong" => writer.unmark("**"),
            "i" | "em" => writer.unmark("*"),
            "a" => writer.close_link(),
            "tr" | "li" => writer.block(1),
            other if is_block(other) => writer.block(gap(other)),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.unseen.is_none() {
            self.writer.text(text);
        }
    }

    /// Where a link leads; nothing for what no page is behind.
    fn absolute(&self, link: &str) -> Option<String> {
        let link = link.trim();
        if link.is_empty() || link.starts_with('#') || link.len() > MAX_URL {
            return None;
        }
        let url = self.base.join(link).ok()?;
        (matches!(url.scheme(), "http" | "https" | "mailto") && url.as_str().len() <= MAX_URL)
            .then(|| url.to_string())
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "body"
            | "caption"
            | "center"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "head"
            | "html"
            | "main"
            | "nav"
            | "option"
            | "p"
            | "section"
            | "select"
            | "summary"
            | "table"
            | "tbody"
            | "thead"
            | "tfoot"
    )
}

/// How many line ends set the block apart.
fn gap(name: &str) -> usize {
    match name {
        "dt" | "dd" | "option" | "tbody" | "thead" | "tfoot" | "caption" | "summary" => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(html: &str) -> String {
        let base = Url::parse("https://example.com/a/b").unwrap();
        of_html(html, &base, 1 << 20).0
    }

    #[test]
    fn a_page_reads_as_it_looks() {
        for (html, expected) in [
            (
                "<title>T</title><body><h2>One &amp; two</h2><p>Some\n  <b>bold</b> <i>words</i>.</p><p>More",
                "# T\n\n## One & two\n\nSome **bold** *words*.\n\nMore",
            ),
            (
                "<ul><li>a<li>b<ol start=3><li>c</li><li>d</li></ol></ul>after",
                "- a\n- b\n  3. c\n  4. d\n\nafter",
            ),
            (
                "see <a href='../x?y=1&amp;z'>the <em>page</em></a>, <a href=#top>top</a>, <a href='javascript:x'>run</a> <a href=/e></a>!",
                "see [the *page*](https://example.com/x?y=1&z), top, run !",
            ),
            (
                "<pre><code>fn a() {\n    b &lt; c\n}</code></pre>then <code>inline</code>",
                "```\nfn a() {\n    b < c\n}\n```\n\nthen `inline`",
            ),
            (
                "<table><tr><th>a<th>b</tr><tr><td>1</td><td>2 3</td></tr></table>",
                "a | b\n1 | 2 3",
            ),
            (
                "<blockquote><p>one</p><p>two</p></blockquote>out",
                "> one\n>\n> two\n\nout",
            ),
            (
                "<img src=/i.png alt='A cat'><img src=x><hr>line<br>next",
                "![A cat](https://example.com/i.png)\n\n---\n\nline\nnext",
            ),
            (
                "a<script>if (1 < 2) '</div>'</script>b<style>p{}</style>c<svg><text>no</text></svg>d<!-- e -->",
                "abcd",
            ),
            ("", ""),
            ("just text", "just text"),
        ] {
            assert_eq!(of(html), expected, "{html}");
        }
    }

    #[test]
    fn broken_pages_lose_no_text() {
        for (html, expected) in [
            ("<p><b>a<p>b</i></b></div></ul></table>c", "**a\n\nb**\n\nc"),
            (
                "<a href=/x>one<a href=/y>two",
                "[one](https://example.com/x)[two](https://example.com/y)",
            ),
            ("<pre>never closed", "```\nnever closed\n```"),
            ("</a></b></pre></li>text", "text"),
            ("a <b> </b> c", "a c"),
            ("a &nbsp;&#0;&bogus; b<", "a \u{a0}\u{fffd}&bogus; b<"),
            ("<li>no list", "- no list"),
            ("<td>no row<td>two", "no row | two"),
        ] {
            assert_eq!(of(html), expected, "{html}");
        }
    }

    #[test]
    fn depth_and_size_cost_nothing() {
        for unit in [
            "<div>",
            "<ul><li>",
            "<blockquote>",
            "<b>",
            "<a href=/x>",
            "<pre>",
            "<h1>",
            "<td>",
        ] {
            let deep = format!("{}x", unit.repeat(200_000));
            assert!(of(&deep).contains('x'), "{unit}");
        }
        let base = Url::parse("https://example.com").unwrap();
        let (text, is_cut) = of_html(&"<p>word</p>".repeat(10_000), &base, 1_000);
        assert!(is_cut && text.len() <= 1_000, "{}", text.len());
        let (text, is_cut) = of_html(&"é".repeat(10_000), &base, 1_001);
        assert_eq!((text.len(), is_cut), (1_000, true));
    }
}
