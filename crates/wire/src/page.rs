//! Lists come in pages. A page ends with a cursor that goes on exactly there, also when resources come and go between.
//!
//! A cursor is opaque to clients. It carries which list it is of, its order and its filters, so that one of another
//! list, or one that is used with other filters, is refused and never gives a page of something else. Some lists can be
//! gone back in: their cursors carry the direction too.

use crate::Invalid;
use crate::schema::{Field, Schema, integer, list, object, optional, required, text};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of a page, where a request does not say.
pub const DEFAULT_LIMIT: usize = 20;
const CURSOR_CHARACTERS: usize = 2000;

/// The envelope of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub next_page: Option<String>,
}

impl<T> Page<T> {
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(change).collect(),
            next_page: self.next_page,
        }
    }
}

/// The envelope of a list that can be gone back in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwoWayPage<T> {
    pub data: Vec<T>,
    pub next_page: Option<String>,
    /// Nothing on the first page.
    pub prev_page: Option<String>,
}

/// The schema of a page; `most` is the greatest limit.
pub fn page_of(item: Schema, most: usize) -> Schema {
    object([required("data", list(item, most)), cursor("next_page")])
}

/// The schema of a page of a list that can be gone back in.
pub fn two_way_page_of(item: Schema, most: usize) -> Schema {
    object([
        required("data", list(item, most)),
        cursor("next_page"),
        cursor("prev_page"),
    ])
}

fn cursor(name: &'static str) -> Field {
    required(name, text(1..=CURSOR_CHARACTERS).nullable())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Asc,
    Desc,
}

impl Order {
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Asc => Self::Desc,
            Self::Desc => Self::Asc,
        }
    }
}

/// The last thing of a page: when it was made, as the list's order has it, and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub at: i64,
    pub id: String,
}

/// Which list it is, so that a cursor of another one is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Like `agents`.
    pub kind: String,
    pub order: Order,
    /// By the parameter's name; the parent's id too, where the list has a parent.
    pub filters: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    #[serde(flatten)]
    listing: Listing,
    #[serde(flatten)]
    position: Position,
    /// Whether it leads to what comes before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    back: bool,
}

/// A part of a list that is asked for: at most so many after a position, or before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub listing: Listing,
    pub limit: usize,
    pub after: Option<Position>,
    /// What comes before the position is asked for, and is found in the reversed order.
    pub back: bool,
}

impl Listing {
    pub fn new(kind: &str, order: Order) -> Self {
        Self {
            kind: kind.to_owned(),
            order,
            filters: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn filter(mut self, name: &str, value: Option<String>) -> Self {
        self.filters.extend(value.map(|value| (name.to_owned(), value)));
        self
    }

    /// With the `page` and `limit` of a request.
    pub fn slice(self, page: Option<&str>, limit: Option<usize>) -> Result<Slice, Invalid> {
        let slice = self.two_way_slice(page, limit)?;
        if slice.back { Err(foreign()) } else { Ok(slice) }
    }

    /// Of a list that can be gone back in.
    pub fn two_way_slice(self, page: Option<&str>, limit: Option<usize>) -> Result<Slice, Invalid> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        let (after, back) = match page {
            None => (None, false),
            Some(page) => {
                let cursor = self.cursor(page)?;
                (Some(cursor.position), cursor.back)
            }
        };
        Ok(Slice {
            listing: self,
            limit,
            after,
            back,
        })
    }

    fn cursor(&self, page: &str) -> Result<Cursor, Invalid> {
        let json = URL_SAFE_NO_PAD.decode(page).map_err(|_| foreign())?;
        let cursor: Cursor = serde_json::from_slice(&json).map_err(|_| foreign())?;
        if cursor.listing.kind != self.kind {
            return Err(foreign());
        }
        if cursor.listing != *self {
            return Err(Invalid::new(
                "page",
                "is a cursor of this list with another order or other filters: repeat those of the first page",
            ));
        }
        Ok(cursor)
    }
}

fn foreign() -> Invalid {
    Invalid::new(
        "page",
        "is not a cursor of this list: pass next_page as it was given",
    )
}

impl Slice {
    /// A page of what was found: up to one more than the limit, which tells that there is a next page.
    pub fn page<T>(&self, mut found: Vec<T>, position: impl Fn(&T) -> Position) -> Page<T> {
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        self.page_of(found, more, position)
    }

    /// A page of just this, and whether there is a next one.
    pub fn page_of<T>(&self, found: Vec<T>, more: bool, position: impl Fn(&T) -> Position) -> Page<T> {
        let last = found.last().filter(|_| more);
        let next_page = last.map(|last| self.cursor_at(position(last), false));
        Page {
            data: found,
            next_page,
        }
    }

    /// As [`Slice::page`], of a list that can be gone back in: what was found is in the order in which it was asked for.
    pub fn two_way_page<T>(&self, mut found: Vec<T>, position: impl Fn(&T) -> Position) -> TwoWayPage<T> {
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let (before, after) = if self.back {
            found.reverse();
            (more, true)
        } else {
            (self.after.is_some(), more)
        };
        let end = |there: bool, item: Option<&T>, back: bool| {
            let item = item.filter(|_| there)?;
            Some(self.cursor_at(position(item), back))
        };
        TwoWayPage {
            next_page: end(after, found.last(), false),
            prev_page: end(before, found.first(), true),
            data: found,
        }
    }

    fn cursor_at(&self, position: Position, back: bool) -> String {
        let cursor = Cursor {
            listing: self.listing.clone(),
            position,
            back,
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
    }

    /// In which what is asked for is found.
    pub fn order(&self) -> Order {
        if self.back {
            self.listing.order.reversed()
        } else {
            self.listing.order
        }
    }

    /// How many to look for.
    pub fn wanted(&self) -> i64 {
        self.limit as i64 + 1
    }
}

/// What everything of the slice comes before, in a list with the newest first.
pub fn before(slice: &Slice) -> (i64, &str) {
    match &slice.after {
        None => (i64::MAX, ""),
        Some(position) => (position.at, &position.id),
    }
}

/// The parameters `limit` and `page`.
pub fn parameters(most: usize) -> [Field; 2] {
    [
        optional("limit", integer(1..=most as i64)),
        optional("page", text(1..=CURSOR_CHARACTERS)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing::new("agents", Order::Desc).filter("include_archived", Some("true".to_owned()))
    }

    fn position(number: i64) -> Position {
        Position {
            at: number,
            id: format!("agent_{number}"),
        }
    }

    #[test]
    fn a_cursor_leads_to_the_end_of_its_page() {
        let slice = listing().slice(None, Some(2)).unwrap();
        assert_eq!(slice.wanted(), 3);
        let page = slice.page(vec![9, 8, 7], |number| position(*number));
        assert_eq!(page.data, [9, 8]);
        let next = listing().slice(page.next_page.as_deref(), Some(2)).unwrap();
        assert_eq!(next.after, Some(position(8)));
        assert_eq!(next.page(vec![7], |number| position(*number)).next_page, None);
        assert_eq!(next.page(vec![7, 6], |number| position(*number)).next_page, None);
    }

    #[test]
    fn a_list_can_be_gone_back_in_and_forth() {
        let all = [9, 8, 7, 6, 5];
        let ask = |page: Option<&str>| {
            let slice = listing().two_way_slice(page, Some(2)).unwrap();
            let place = slice
                .after
                .as_ref()
                .map(|after| all.iter().position(|number| *number == after.at).unwrap());
            let found: Vec<i64> = match place {
                None => all.to_vec(),
                Some(place) if slice.back => all[..place].iter().rev().copied().collect(),
                Some(place) => all[place + 1..].to_vec(),
            };
            let wanted = found.into_iter().take(slice.wanted() as usize).collect();
            slice.two_way_page(wanted, |number| position(*number))
        };
        let first = ask(None);
        let second = ask(first.next_page.as_deref());
        let third = ask(second.next_page.as_deref());
        assert_eq!((&first.data[..], &first.prev_page), (&[9, 8][..], &None));
        assert_eq!(second.data, [7, 6]);
        assert_eq!((&third.data[..], &third.next_page), (&[5][..], &None));
        assert_eq!(ask(third.prev_page.as_deref()), second);
        assert_eq!(ask(second.prev_page.as_deref()), first);
        let back = third.prev_page.unwrap();
        assert_eq!(listing().slice(Some(&back), None).unwrap_err().path, "page");
    }

    #[test]
    fn a_cursor_of_something_else_is_refused() {
        let page = listing()
            .slice(None, Some(1))
            .unwrap()
            .page(vec![9, 8], |number| position(*number));
        let cursor = page.next_page.unwrap();
        let others = [
            Listing::new("environments", Order::Desc).filter("include_archived", Some("true".to_owned())),
            Listing::new("agents", Order::Asc).filter("include_archived", Some("true".to_owned())),
            Listing::new("agents", Order::Desc),
            listing().filter("created_at[gte]", Some("2026-01-01T00:00:00Z".to_owned())),
        ];
        for other in others {
            assert_eq!(other.slice(Some(&cursor), Some(1)).unwrap_err().path, "page");
        }
        for wrong in ["", "x", "eyJ9", &cursor[1..], &URL_SAFE_NO_PAD.encode("{}")] {
            assert_eq!(
                listing().slice(Some(wrong), None).unwrap_err().path,
                "page",
                "{wrong}"
            );
        }
    }
}
