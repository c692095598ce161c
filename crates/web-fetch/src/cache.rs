//! Pages that were fetched a little while ago. The oldest make room for new ones.

use crate::Page;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const LIFETIME: Duration = Duration::from_mins(15);
const MAX_PAGES: usize = 32;
const MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The oldest first.
    pages: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    asked: String,
    fetched: Instant,
    page: Arc<Page>,
}

impl Cache {
    pub(crate) fn get(&mut self, asked: &str) -> Option<Arc<Page>> {
        self.pages.retain(|entry| entry.fetched.elapsed() < LIFETIME);
        let found = self.pages.iter().find(|entry| entry.asked == asked);
        found.map(|entry| Arc::clone(&entry.page))
    }

    pub(crate) fn put(&mut self, asked: &str, page: &Arc<Page>) {
        self.pages.retain(|entry| entry.asked != asked);
        self.pages.push_back(Entry {
            asked: asked.to_owned(),
            fetched: Instant::now(),
            page: Arc::clone(page),
        });
        while self.pages.len() > MAX_PAGES || self.bytes() > MAX_BYTES {
            self.pages.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        self.pages.iter().map(|entry| entry.page.text.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(bytes: usize) -> Arc<Page> {
        Arc::new(Page {
            text: "x".repeat(bytes),
            ..Page::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_kept_for_a_quarter_of_an_hour() {
        let mut cache = Cache::default();
        cache.put("a", &page(1));
        tokio::time::advance(LIFETIME.checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert!(cache.get("a").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.get("a").is_none() && cache.pages.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_make_room() {
        let mut cache = Cache::default();
        for number in 0..100 {
            cache.put(&number.to_string(), &page(1));
        }
        assert!(cache.get("67").is_none() && cache.get("68").is_some());
        cache.put("large", &page(MAX_BYTES));
        assert_eq!(cache.pages.len(), 1);
        cache.put("larger", &page(MAX_BYTES + 1));
        assert!(cache.pages.is_empty(), "what never fits is not kept");
    }
}
