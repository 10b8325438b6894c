//! Lists that fit: what there is no room for is counted, never silently lost.

use super::sweep_words::grouped;
use crate::{
    blocks::{Block, LARGEST_BLOCKS, LONGEST_SECTION, MOST_BLOCKS},
    text::{Markup, length},
};

/// Rows of a list that a message shows at most.
pub(super) const MOST_ROWS: usize = 15;

/// A heading and its rows.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    /// Ends with a colon.
    pub(super) heading: Markup,
    /// A line each.
    pub(super) rows: Vec<Markup>,
    /// How many more there are than `rows` holds.
    pub(super) beyond: usize,
    /// Whether the other lists are shortened first.
    pub(super) is_weighty: bool,
}

impl List {
    /// The list with at most `most` of its rows.
    fn blocks(&self, most: usize) -> Vec<Block> {
        let shown = self.rows.len().min(most);
        let rest = self.rows.len() - shown + self.beyond;
        let mut lines = vec![self.heading.clone()];
        lines.extend(self.rows.iter().take(shown).map(|row| Markup::new().say("• ").then(row.clone())));
        if rest > 0 {
            let count = grouped(rest);
            lines.push(match shown {
                0 => Markup::new().say("• ").word(&count).say(" in all, for which there is no room here"),
                _ => Markup::new().say("• and ").word(&count).say(" more"),
            });
        }
        packed(lines).into_iter().map(|(block, _)| block).collect()
    }
}

/// The lists, each with as many rows as fit beside the other blocks, and with [`MOST_ROWS`] at most.
pub(super) fn fitting<'a>(lists: &[List], others: impl Iterator<Item = &'a Block>) -> Vec<Block> {
    if lists.is_empty() {
        return Vec::new();
    }
    let (taken, number) = others.fold((0, 0), |(taken, number), block| (taken + block.size(), number + 1));
    let with = |weighty: usize, rest: usize| -> Vec<Block> {
        let most = |list: &List| if list.is_weighty { weighty } else { rest };
        lists.iter().flat_map(|list| list.blocks(most(list))).collect()
    };
    let fits = |blocks: &[Block]| {
        taken + blocks.iter().map(Block::size).sum::<usize>() <= LARGEST_BLOCKS
            && number + blocks.len() <= MOST_BLOCKS
    };
    let light = (0..=MOST_ROWS).rev().map(|rest| (MOST_ROWS, rest));
    let heavy = (0..MOST_ROWS).rev().map(|weighty| (weighty, 0));
    light
        .chain(heavy)
        .map(|(weighty, rest)| with(weighty, rest))
        .find(|blocks| fits(blocks))
        .unwrap_or_else(|| with(0, 0))
}

/// Lines, packed into as few sections as hold them; with each section how many it holds.
pub(super) fn packed(lines: impl IntoIterator<Item = Markup>) -> Vec<(Block, usize)> {
    let mut sections = Vec::new();
    let mut open = Markup::new();
    let mut held = 0;
    let mut spent = 0;
    for line in lines {
        let size = length(&line.render(LONGEST_SECTION)) + 1;
        if held > 0 && spent + size > LONGEST_SECTION {
            sections.push((Block::section(&open), held));
            (open, held, spent) = (Markup::new(), 0, 0);
        }
        open = if held == 0 { open } else { open.say("\n") }.then(line);
        held += 1;
        spent += size;
    }
    if held > 0 {
        sections.push((Block::section(&open), held));
    }
    sections
}
