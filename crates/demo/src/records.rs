//! The library: which records exist, in which file, with which fate.
//! Besides the usable abstracts there are all the kinds of record that a corpus must handle. Retracted, deleted and superseded
//! records claim wrong facts, so a corpus that keeps them is found out by the exam.

use crate::compose::{Article, Writer};
use crate::phrases::VERNACULAR;
use crate::rng::Rng;
use crate::world::World;

/// Beyond any number that the real catalogue has given out.
const FIRST_PMID: u32 = 99_000_001;
pub(crate) const BASELINE_FILES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An abstract to train on.
    Usable,
    /// An abstract to train on, in the update file, replacing a superseded record of the same PMID.
    Correction { version: u8 },
    /// In the baseline; the correction of this number comes in the update.
    Superseded { correction: usize },
    /// Marked by publication type; claims wrong facts.
    Retracted,
    /// In the baseline; the update's `DeleteCitation` names it.
    Deleted,
    /// The words of another record under a PMID of its own.
    Duplicate,
    /// Not in English.
    Vernacular { language: &'static str },
    /// A title and no abstract.
    TitleOnly,
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) pmid: u32,
    pub(crate) fate: Fate,
    pub(crate) article: Article,
    pub(crate) vernacular_title: Option<String>,
}

impl Record {
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.fate, Fate::Usable | Fate::Correction { .. })
    }
}

pub(crate) struct Library {
    pub(crate) baseline: [Vec<Record>; BASELINE_FILES],
    pub(crate) update: Vec<Record>,
    /// What the update's `DeleteCitation` names.
    pub(crate) deleted: Vec<u32>,
    /// By disease and relation: the phrasings of `SEEN` that usable abstracts contain.
    pub(crate) seen: Vec<[Vec<usize>; 4]>,
    /// By disease and relation: how often usable abstracts state the fact.
    pub(crate) stated: Vec<[usize; 4]>,
}

impl Library {
    pub(crate) fn write(seed: u64, world: &World, abstracts: usize) -> Self {
        let mut rng = Rng::stream(seed, "records");
        let (mut usable, seen, stated) = usable_articles(seed, world, abstracts);
        rng.shuffle(&mut usable);

        let few = |per: usize| (abstracts / per).max(2);
        // Kept out of the first baseline files: corrections (their wrong originals are there instead) and new arrivals.
        let corrected = usable.split_off(usable.len() - few(100));
        let arrivals = usable.split_off(usable.len() - few(20));

        let plain = |fate| move |article| Record { pmid: 0, fate, article, vernacular_title: None };
        let mut base: Vec<Record> = usable.into_iter().map(|(_, article)| plain(Fate::Usable)(article)).collect();
        let mut doubtful = Doubtful { seed, world, rng: Rng::stream(seed, "doubtful") };
        base.extend((0..few(200)).map(|_| plain(Fate::Retracted)(doubtful.false_article(None))));
        base.extend((0..few(200)).map(|_| plain(Fate::Deleted)(doubtful.false_article(None))));
        base.extend(
            corrected
                .iter()
                .enumerate()
                .map(|(correction, (disease, _))| plain(Fate::Superseded { correction })(doubtful.false_article(Some(*disease)))),
        );
        base.extend((0..few(60)).map(|_| doubtful.vernacular()));
        base.extend((0..few(60)).map(|_| plain(Fate::TitleOnly)(Article { sections: Vec::new(), ..doubtful.false_article(None) })));
        rng.shuffle(&mut base);
        let originals: Vec<Article> = base.iter().filter(|record| record.fate == Fate::Usable).map(|r| r.article.clone()).collect();
        base.extend((0..few(100)).map(|_| plain(Fate::Duplicate)(rng.pick(&originals).clone())));
        for (pmid, record) in (FIRST_PMID..).zip(base.iter_mut()) {
            record.pmid = pmid;
        }

        let mut update: Vec<Record> = arrivals.into_iter().map(|(_, article)| plain(Fate::Usable)(article)).collect();
        for (pmid, record) in (FIRST_PMID + base.len() as u32..).zip(update.iter_mut()) {
            record.pmid = pmid;
        }
        for (correction, (_, article)) in corrected.into_iter().enumerate() {
            let replaced = base.iter().find(|record| record.fate == Fate::Superseded { correction });
            let version = if correction % 3 == 0 { 2 } else { 1 };
            update.extend(replaced.map(|old| Record { pmid: old.pmid, ..plain(Fate::Correction { version })(article) }));
        }
        rng.shuffle(&mut update);

        let deleted = base.iter().filter(|record| record.fate == Fate::Deleted).map(|record| record.pmid).collect();
        let last = base.split_off(2 * base.len() / 3);
        let middle = base.split_off(base.len() / 2);
        Self { baseline: [base, middle, last], update, deleted, seen, stated }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.baseline.iter().flatten().chain(&self.update)
    }

    pub(crate) fn count(&self, is: impl Fn(&Fate) -> bool) -> usize {
        self.records().filter(|record| is(&record.fate)).count()
    }
}

type Stated = Vec<[usize; 4]>;
type Seen = Vec<[Vec<usize>; 4]>;

/// The abstracts by disease (its index comes along), and what they say.
fn usable_articles(seed: u64, world: &World, abstracts: usize) -> (Vec<(usize, Article)>, Seen, Stated) {
    let mut articles = Vec::with_capacity(abstracts);
    let (mut seen, mut stated) = (Vec::new(), Vec::new());
    for (at, disease) in world.diseases.iter().enumerate() {
        let mut writer = Writer::new(disease, Rng::stream(seed, &format!("abstracts of {}", disease.name)));
        let share = abstracts / world.diseases.len() + usize::from(at < abstracts % world.diseases.len());
        let mut own: Vec<(usize, Article)> = Vec::with_capacity(share);
        while own.len() < share {
            let article = writer.article();
            // The same words twice would be taken for a duplicate record; the statements made still are in the first.
            if own.iter().all(|(_, other)| *other != article) {
                own.push((at, article));
            }
        }
        articles.extend(own);
        seen.push(writer.seen);
        stated.push(writer.stated);
    }
    (articles, seen, stated)
}

/// Writes the records that must not be trained on.
struct Doubtful<'a> {
    seed: u64,
    world: &'a World,
    rng: Rng,
}

impl Doubtful<'_> {
    fn false_article(&mut self, disease: Option<usize>) -> Article {
        let disease = disease.unwrap_or_else(|| self.rng.below(self.world.diseases.len()));
        let wrong = self.world.falsified(&self.world.diseases[disease], &mut self.rng);
        let draw = self.rng.next();
        Writer::new(&wrong, Rng::stream(self.seed, &format!("false article {draw}"))).article()
    }

    /// As the catalogue has them: an English title in brackets, the own title beside it, an English abstract.
    fn vernacular(&mut self) -> Record {
        let disease = self.rng.pick(&self.world.diseases);
        let draw = self.rng.next();
        let mut article = Writer::new(disease, Rng::stream(self.seed, &format!("vernacular {draw}"))).article();
        article.title = format!("[{}].", article.title.trim_end_matches('.'));
        let (language, title) = *self.rng.pick(&VERNACULAR);
        Record { pmid: 0, fate: Fate::Vernacular { language }, article, vernacular_title: Some(disease.fill(title)) }
    }
}
