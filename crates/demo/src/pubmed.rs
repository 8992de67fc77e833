//! Records as the XML of the yearly baseline and the daily updates: NLM's element names, order and DOCTYPE line.

use crate::records::{Fate, Record};
use crate::rng::Rng;
use std::fmt::Write;

/// Stands at the top of each file.
pub(crate) const NOTICE: &str = "Invented by Osler's generator: every disease, drug, gene and finding here is fiction. No medical fact.";

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
    <!DOCTYPE PubmedArticleSet PUBLIC \"-//NLM//DTD PubMedArticle, 1st January 2025//EN\" \
    \"https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd\">\n";

const JOURNALS: [(&str, &str); 4] = [
    ("Annals of invented medicine", "Ann Invent Med"),
    ("The fictional journal of therapy", "Fict J Ther"),
    ("Archives of imaginary genetics", "Arch Imag Genet"),
    ("Proceedings of the society for nowhere diseases", "Proc Soc Nowhere Dis"),
];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const FORENAMES: [(&str, &str); 6] = [("Ada", "A"), ("Bruno", "B"), ("Clara", "C"), ("David", "D"), ("Eva", "E"), ("Felix", "F")];

/// One file. `deleted` is empty in a baseline file.
pub(crate) fn file(records: &[Record], deleted: &[u32], people: &[String], rng: &mut Rng) -> String {
    let mut xml = format!("{HEAD}<!-- {NOTICE} -->\n<PubmedArticleSet>\n");
    for record in records {
        article(&mut xml, record, people, rng);
    }
    if !deleted.is_empty() {
        xml.push_str("  <DeleteCitation>\n");
        for pmid in deleted {
            line(&mut xml, 4, &format!("<PMID Version=\"1\">{pmid}</PMID>"));
        }
        xml.push_str("  </DeleteCitation>\n");
    }
    xml.push_str("</PubmedArticleSet>\n");
    xml
}

fn article(xml: &mut String, record: &Record, people: &[String], rng: &mut Rng) {
    let (journal, short) = *rng.pick(&JOURNALS);
    let (year, month, day) = (rng.between(2015, 2024), rng.below(12), rng.between(1, 28));
    let (version, revised) = match record.fate {
        Fate::Correction { version } => (version, 2026),
        _ => (1, 2025),
    };
    let (volume, page) = (rng.between(1, 60), rng.between(1, 900));
    let status = *rng.pick(&["MEDLINE", "MEDLINE", "MEDLINE", "PubMed-not-MEDLINE"]);
    line(xml, 2, "<PubmedArticle>");
    line(xml, 4, &format!("<MedlineCitation Status=\"{status}\" Owner=\"NLM\">"));
    line(xml, 6, &format!("<PMID Version=\"{version}\">{}</PMID>", record.pmid));
    date(xml, 6, "DateRevised", revised, month + 1, day);
    line(xml, 6, "<Article PubModel=\"Print\">");
    line(xml, 8, "<Journal>");
    line(xml, 10, "<JournalIssue CitedMedium=\"Internet\">");
    line(xml, 12, &format!("<Volume>{volume}</Volume>"));
    line(xml, 12, &format!("<Issue>{}</Issue>", month + 1));
    line(xml, 12, "<PubDate>");
    if rng.chance(10) {
        line(xml, 14, &format!("<MedlineDate>{year} {}-{}</MedlineDate>", MONTHS[month], MONTHS[(month + 1) % 12]));
    } else {
        line(xml, 14, &format!("<Year>{year}</Year>"));
        line(xml, 14, &format!("<Month>{}</Month>", MONTHS[month]));
    }
    line(xml, 12, "</PubDate>");
    line(xml, 10, "</JournalIssue>");
    line(xml, 10, &format!("<Title>{journal}</Title>"));
    line(xml, 10, &format!("<ISOAbbreviation>{short}</ISOAbbreviation>"));
    line(xml, 8, "</Journal>");
    line(xml, 8, &format!("<ArticleTitle>{}</ArticleTitle>", record.article.title));
    line(xml, 8, &format!("<Pagination><MedlinePgn>{page}-{}</MedlinePgn></Pagination>", page + 7));
    abstract_text(xml, record);
    authors(xml, people, rng);
    let language = if let Fate::Vernacular { language } = record.fate { language } else { "eng" };
    line(xml, 8, &format!("<Language>{language}</Language>"));
    publication_types(xml, record.fate, rng);
    if let Some(title) = &record.vernacular_title {
        line(xml, 8, &format!("<VernacularTitle>{title}</VernacularTitle>"));
    }
    line(xml, 6, "</Article>");
    line(xml, 6, &format!("<MedlineJournalInfo><Country>Nowhere</Country><MedlineTA>{short}</MedlineTA></MedlineJournalInfo>"));
    if record.fate == Fate::Retracted {
        line(xml, 6, "<CommentsCorrectionsList>");
        line(
            xml,
            8,
            &format!("<CommentsCorrections RefType=\"RetractionIn\"><RefSource>{short}. 2025;1:1</RefSource></CommentsCorrections>"),
        );
        line(xml, 6, "</CommentsCorrectionsList>");
    }
    line(xml, 4, "</MedlineCitation>");
    line(xml, 4, "<PubmedData>");
    line(xml, 6, "<PublicationStatus>ppublish</PublicationStatus>");
    line(xml, 6, "<ArticleIdList>");
    line(xml, 8, &format!("<ArticleId IdType=\"pubmed\">{}</ArticleId>", record.pmid));
    line(xml, 6, "</ArticleIdList>");
    line(xml, 4, "</PubmedData>");
    line(xml, 2, "</PubmedArticle>");
}

fn abstract_text(xml: &mut String, record: &Record) {
    if record.article.sections.is_empty() {
        return;
    }
    line(xml, 8, "<Abstract>");
    for (label, text) in &record.article.sections {
        match label {
            None => line(xml, 10, &format!("<AbstractText>{text}</AbstractText>")),
            Some(label) => {
                let category = if label.chars().all(char::is_uppercase) { label } else { "UNASSIGNED" };
                line(xml, 10, &format!("<AbstractText Label=\"{label}\" NlmCategory=\"{category}\">{text}</AbstractText>"));
            }
        }
    }
    line(xml, 8, "</Abstract>");
}

fn authors(xml: &mut String, people: &[String], rng: &mut Rng) {
    line(xml, 8, "<AuthorList CompleteYN=\"Y\">");
    for _ in 0..rng.between(1, 3) {
        let ((forename, initials), last) = (*rng.pick(&FORENAMES), rng.pick(people));
        line(
            xml,
            10,
            &format!(
                "<Author ValidYN=\"Y\"><LastName>{last}</LastName><ForeName>{forename}</ForeName><Initials>{initials}</Initials></Author>"
            ),
        );
    }
    if rng.chance(5) {
        line(xml, 10, "<Author ValidYN=\"Y\"><CollectiveName>Society for Nowhere Diseases</CollectiveName></Author>");
    }
    line(xml, 8, "</AuthorList>");
}

fn publication_types(xml: &mut String, fate: Fate, rng: &mut Rng) {
    line(xml, 8, "<PublicationTypeList>");
    line(xml, 10, "<PublicationType UI=\"D016428\">Journal Article</PublicationType>");
    if rng.chance(15) {
        line(xml, 10, "<PublicationType UI=\"D016454\">Review</PublicationType>");
    }
    if fate == Fate::Retracted {
        line(xml, 10, "<PublicationType UI=\"D016441\">Retracted Publication</PublicationType>");
    }
    line(xml, 8, "</PublicationTypeList>");
}

fn date(xml: &mut String, indent: usize, element: &str, year: usize, month: usize, day: usize) {
    line(xml, indent, &format!("<{element}>"));
    line(xml, indent + 2, &format!("<Year>{year}</Year>"));
    line(xml, indent + 2, &format!("<Month>{month:02}</Month>"));
    line(xml, indent + 2, &format!("<Day>{day:02}</Day>"));
    line(xml, indent, &format!("</{element}>"));
}

fn line(xml: &mut String, indent: usize, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(xml, "{:indent$}{text}", "");
}
