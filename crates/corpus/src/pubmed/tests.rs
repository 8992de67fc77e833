//! Awkward records, one promise a test; what is refused, with the place; and the real files where they are.

use super::PubmedReader;
use crate::document::{Date, Document, Kind};
use crate::error::Result;
use flate2::write::GzEncoder;
use std::io::Write;

const DOCTYPE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!DOCTYPE PubmedArticleSet PUBLIC \"-//NLM//DTD PubMedArticle, 1st January 2025//EN\" \"https://dtd.invalid/pubmed.dtd\">\n";

fn read(bytes: &[u8]) -> Result<Vec<Document>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    PubmedReader::open(file.path())?.collect()
}

fn set(records: &str) -> String {
    format!("{DOCTYPE}<PubmedArticleSet>\n{records}\n</PubmedArticleSet>\n")
}

/// A record with `extra` in its citation and `article` in its article.
fn record(article: &str, extra: &str) -> String {
    format!(
        "<PubmedArticle><MedlineCitation><PMID Version=\"1\">7</PMID><Article>{article}</Article>{extra}</MedlineCitation><PubmedData><ArticleIdList><ArticleId>9</ArticleId></ArticleIdList></PubmedData></PubmedArticle>"
    )
}

fn one(article: &str, extra: &str) -> Document {
    let mut documents = read(set(&record(article, extra)).as_bytes()).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn error(bytes: &[u8]) -> String {
    read(bytes).expect_err("this must be refused").to_string()
}

#[track_caller]
fn check_refused(bytes: &[u8], words: &str, offset: usize) {
    let message = error(bytes);
    assert!(message.contains(words), "{message}");
    assert!(message.contains(&format!("byte {offset} (uncompressed)")), "{message} (expected byte {offset})");
}

#[test]
fn mixed_content_becomes_the_text_that_one_reads() {
    for (xml, text) in [
        ("r<sup>2</sup> of <i>E. <b>coli</b></i> in H<sub>2</sub>O", "r^2 of E. coli in H2O"),
        ("  a\n   b\t<i> c </i>d ", "a b c d"),
        ("x &#x3B1;&amp;&#946; &lt;5 &gt; &quot;q&apos;", "x \u{3b1}&\u{3b2} <5 > \"q'"),
        ("a<![CDATA[ <b> & ]]>c", "a <b> & c"),
        ("one<!-- not this <i> -->two<?pi nor this?>", "onetwo"),
        (
            "if <mml:math xmlns:mml=\"http://www.w3.org/1998/Math/MathML\"><mml:mi>x</mml:mi><mml:mo>&lt;</mml:mo><mml:mn>3</mml:mn></mml:math>.",
            "if x<3.",
        ),
        (
            "<mml:math><mml:semantics><mml:mi>y</mml:mi><mml:annotation encoding=\"TeX\">\\y</mml:annotation></mml:semantics></mml:math>!",
            "y!",
        ),
        ("thin\u{2009}and&#160;hard", "thin and hard"),
        ("a<i/>b", "ab"),
        ("", ""),
    ] {
        assert_eq!(one(&format!("<ArticleTitle>{xml}</ArticleTitle>"), "").title, text, "{xml}");
    }
}

#[test]
fn an_abstract_keeps_its_labels_and_loses_empty_sections_and_the_copyright_field() {
    let doc = one(
        "<Abstract><AbstractText Label=\"AIM &amp; SCOPE\" NlmCategory=\"OBJECTIVE\">To <i>see</i>.</AbstractText><AbstractText/>\
         <AbstractText Label=\"\">Seen.</AbstractText><AbstractText Label=\"LEVEL OF EVIDENCE: 4\"/><CopyrightInformation>Copyright 2001.</CopyrightInformation></Abstract>",
        "",
    );
    let found: Vec<_> = doc.abstract_sections.iter().map(|s| (s.label.as_deref(), s.category.as_deref(), s.text.as_str())).collect();
    assert_eq!(
        found,
        [(Some("AIM & SCOPE"), Some("OBJECTIVE"), "To see."), (None, None, "Seen."), (Some("LEVEL OF EVIDENCE: 4"), None, "")]
    );
    assert!(one("<Abstract><AbstractText></AbstractText></Abstract>", "").abstract_sections.is_empty());
}

#[test]
fn other_abstracts_do_not_mix_with_the_abstract() {
    let doc = one(
        "<Abstract><AbstractText>Main.</AbstractText></Abstract>",
        "<OtherAbstract Type=\"plain-language-summary\" Language=\"spa\"><AbstractText>Otro.</AbstractText></OtherAbstract>",
    );
    assert_eq!(doc.abstract_sections.len(), 1);
    let other = &doc.other_abstracts[0];
    let found = (other.kind.as_deref(), other.language.as_deref(), other.sections[0].text.as_str());
    assert_eq!(found, (Some("plain-language-summary"), Some("spa"), "Otro."));
}

#[test]
fn the_record_s_own_pmid_counts_and_not_those_it_mentions() {
    let doc = one(
        "",
        "<CommentsCorrectionsList><CommentsCorrections RefType=\"Cites\"><PMID Version=\"3\">99</PMID></CommentsCorrections></CommentsCorrectionsList>",
    );
    assert_eq!((doc.id.as_str(), doc.pmid.as_deref(), doc.version, doc.retracted), ("7", Some("7"), 1, false));
    let second = set("<PubmedArticle><MedlineCitation><PMID Version=\"2\">7</PMID></MedlineCitation></PubmedArticle>");
    assert_eq!(read(second.as_bytes()).unwrap()[0].version, 2);
}

#[test]
fn a_retraction_is_seen_in_either_form() {
    let by_type =
        one("<PublicationTypeList><PublicationType UI=\"D016441\">Retracted Publication</PublicationType></PublicationTypeList>", "");
    let by_notice = one(
        "",
        "<CommentsCorrectionsList><CommentsCorrections RefType=\"RetractionIn\"><PMID>9</PMID></CommentsCorrections></CommentsCorrectionsList>",
    );
    let notice_itself = one(
        "<PublicationTypeList><PublicationType>Retraction of Publication</PublicationType></PublicationTypeList>",
        "<CommentsCorrectionsList><CommentsCorrections RefType=\"RetractionOf\"><PMID>9</PMID></CommentsCorrections></CommentsCorrectionsList>",
    );
    assert!(by_type.retracted && by_notice.retracted && !notice_itself.retracted);
}

#[test]
fn what_was_taken_back_or_replaced_is_seen() {
    let links = |kind: &str| {
        format!(
            "<CommentsCorrectionsList><CommentsCorrections RefType=\"{kind}\"><PMID>9</PMID></CommentsCorrections></CommentsCorrectionsList>"
        )
    };
    for (title, kind, expected) in [
        ("On rest.", "RetractionIn", (true, false, false)),
        ("Retracted: On rest.", "Cites", (true, false, false)),
        ("WITHDRAWN: On rest.", "Cites", (false, true, false)),
        ("On rest.", "RetractedandRepublishedIn", (false, false, true)),
        ("On rest.", "CorrectedandRepublishedIn", (false, false, true)),
        ("On rest.", "RetractedandRepublishedFrom", (false, false, false)),
        ("On rest.", "CorrectedandRepublishedFrom", (false, false, false)),
        ("On rest.", "RepublishedIn", (false, false, false)),
        ("On rest.", "ExpressionOfConcernIn", (false, false, false)),
        ("On rest.", "ErratumIn", (false, false, false)),
        ("On rest.", "UpdateIn", (false, false, false)),
    ] {
        let doc = one(&format!("<ArticleTitle>{title}</ArticleTitle>"), &links(kind));
        assert_eq!((doc.retracted, doc.withdrawn, doc.republished), expected, "{title} {kind}");
    }
}

#[test]
fn dates_come_in_many_forms() {
    let date = |year, month, day| Some(Date { year: Some(year), month, day, ..Date::default() });
    for (xml, expected) in [
        ("<Year>2000</Year><Month>Feb</Month><Day>24</Day>", date(2000, Some(2), Some(24))),
        ("<Year>2000</Year><Month>02</Month>", date(2000, Some(2), None)),
        ("<Year>2000</Year><Season>Spring</Season>", Some(Date { season: Some("Spring".into()), ..date(2000, None, None).unwrap() })),
        (
            "<MedlineDate>1998 Dec-1999 Jan</MedlineDate>",
            Some(Date { medline_date: Some("1998 Dec-1999 Jan".into()), ..date(1998, None, None).unwrap() }),
        ),
        ("", None),
    ] {
        let doc = one(&format!("<Journal><JournalIssue><PubDate>{xml}</PubDate></JournalIssue><Title>J  T</Title></Journal>"), "");
        assert_eq!((doc.dates.published, doc.journal.as_deref()), (expected, Some("J T")), "{xml}");
    }
    let doc = one("", "<DateRevised><Year>2021</Year><Month>06</Month><Day>07</Day></DateRevised>");
    assert_eq!((doc.dates.revised, doc.dates.completed), (date(2021, Some(6), Some(7)), None));
}

#[test]
fn a_book_is_a_record_too() {
    let book = "<PubmedBookArticle><BookDocument><PMID Version=\"1\">20301295</PMID><ArticleIdList><ArticleId>NBK1</ArticleId></ArticleIdList>\
        <Book><Publisher><PublisherName>P</PublisherName></Publisher><BookTitle>Gene<i>Reviews</i></BookTitle><PubDate><Year>1993</Year></PubDate></Book>\
        <ArticleTitle>Marfan</ArticleTitle><Language>eng</Language><PublicationType>Review</PublicationType>\
        <Abstract><AbstractText>Text.</AbstractText></Abstract><Sections><Section><SectionTitle>S</SectionTitle></Section></Sections></BookDocument>\
        <PubmedBookData><ArticleIdList/></PubmedBookData></PubmedBookArticle>";
    let mut documents = read(set(&format!("{book}{}", book.replace("<ArticleTitle>Marfan</ArticleTitle>", ""))).as_bytes()).unwrap();
    let whole = documents.pop().unwrap();
    let chapter = documents.pop().unwrap();
    assert_eq!((chapter.kind, chapter.title.as_str(), chapter.journal.as_deref()), (Kind::Book, "Marfan", Some("GeneReviews")));
    assert_eq!((chapter.language, chapter.publication_types), (vec!["eng".to_owned()], vec!["Review".to_owned()]));
    assert_eq!(chapter.dates.published.unwrap().year, Some(1993));
    assert_eq!(whole.title, "GeneReviews");
}

#[test]
fn withdrawn_pmids_come_in_their_place() {
    let xml = set(&format!("{}<DeleteCitation><PMID Version=\"1\">31688362</PMID>\n<PMID>5</PMID></DeleteCitation>", record("", "")));
    let found: Vec<_> = read(xml.as_bytes()).unwrap().into_iter().map(|d| (d.id, d.deleted)).collect();
    assert_eq!(found, [("7".to_owned(), false), ("31688362".to_owned(), true), ("5".to_owned(), true)]);
}

#[test]
fn vernacular_titles_and_languages_are_kept() {
    let doc = one(
        "<ArticleTitle>[On rest].</ArticleTitle><Language>ger</Language><Language>fre</Language><VernacularTitle>\u{dc}ber Ruhe.</VernacularTitle>",
        "",
    );
    assert_eq!((doc.title.as_str(), doc.vernacular_title.as_deref()), ("[On rest].", Some("\u{dc}ber Ruhe.")));
    assert_eq!(doc.language, ["ger", "fre"]);
}

#[test]
fn entity_declarations_are_refused_and_nothing_is_expanded() {
    let bomb = "<!DOCTYPE PubmedArticleSet [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><PubmedArticleSet/>";
    check_refused(bomb.as_bytes(), "the DOCTYPE declares entities", 0);
    let external =
        "<!DOCTYPE PubmedArticleSet SYSTEM \"file:///etc/passwd\" [<!ENTITY % x SYSTEM \"http://x.invalid\"> %x;]><PubmedArticleSet/>";
    check_refused(external.as_bytes(), "the DOCTYPE declares entities", 0);
    let unknown = set(&record("<ArticleTitle>a&nbsp;b</ArticleTitle>", ""));
    check_refused(unknown.as_bytes(), "unknown entity &nbsp;", unknown.find("&nbsp;").unwrap());
    let zero = set(&record("<ArticleTitle>a&#0;b</ArticleTitle>", ""));
    check_refused(zero.as_bytes(), "&#0; is not a character", zero.find("&#0;").unwrap());
    let bare = set(&record("<ArticleTitle>a & b</ArticleTitle>", ""));
    check_refused(bare.as_bytes(), "", bare.find("& b").unwrap());
}

#[test]
fn an_external_doctype_is_passed_over() {
    assert_eq!(one("<ArticleTitle>T</ArticleTitle>", "").title, "T");
}

#[test]
fn other_encodings_are_refused_with_the_place() {
    let xml = set(&record("<ArticleTitle>T</ArticleTitle>", ""));
    let wide: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check_refused(&[&[0xff, 0xfe], wide.as_slice()].concat(), "UTF-16", 0);
    check_refused(&wide, "UTF-16", 0);
    let big: Vec<u8> = xml.encode_utf16().flat_map(u16::to_be_bytes).collect();
    check_refused(&[&[0xfe, 0xff], big.as_slice()].concat(), "UTF-16", 0);
    check_refused(xml.replace("utf-8", "ISO-8859-1").as_bytes(), "declares the encoding \"ISO-8859-1\"", 0);
    let place = xml.find(">T<").unwrap() + 1;
    let mut latin = xml.clone().into_bytes();
    latin[place] = 0xe9;
    check_refused(&latin, "0xe9 is not valid UTF-8", place);
    latin[place] = 0x01;
    assert!(error(&latin).contains("control character 0x01"));
    let with_mark = [&[0xef, 0xbb, 0xbf], xml.as_bytes()].concat();
    assert_eq!(read(&with_mark).unwrap().len(), 1);
    let broken = [&[0xef, 0xbb, 0xbf], set(&record("<ArticleTitle>&x;</ArticleTitle>", "")).as_bytes()].concat();
    assert!(
        error(&broken).contains(&format!("byte {} ", broken.windows(3).position(|w| w == b"&x;").unwrap())),
        "the mark counts as bytes"
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_recognised_by_content_and_may_have_many_members() {
    let xml = set(&record("<ArticleTitle>T</ArticleTitle>", "").repeat(3));
    let (a, b) = xml.split_at(xml.len() / 2);
    assert_eq!(read(&gzip(xml.as_bytes())).unwrap().len(), 3);
    assert_eq!(read(&[gzip(a.as_bytes()), gzip(b.as_bytes())].concat()).unwrap().len(), 3);
}

#[test]
fn a_cut_file_is_an_error_wherever_it_is_cut() {
    let xml = set(&record("<ArticleTitle>T &amp; <i>U</i></ArticleTitle>", ""));
    let whole = xml.trim_end();
    for end in 0..whole.len() {
        let message = error(&whole.as_bytes()[..end]);
        assert!(end == 0 || message.contains("(uncompressed)"), "cut at {end}: {message}");
    }
    let packed = gzip(set(&record("<ArticleTitle>T</ArticleTitle>", "").repeat(300)).as_bytes());
    for end in (1..packed.len()).step_by(7).chain(packed.len() - 9..packed.len()) {
        let message = error(&packed[..end]);
        assert!(end < 2 || message.contains("gzip stream is cut off"), "cut at {end}: {message}");
    }
    let mut damaged = packed.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    assert!(error(&damaged).contains("gzip stream is damaged"));
}

#[test]
fn a_record_without_a_usable_pmid_is_named_by_its_place() {
    let good = record("", "");
    let bad = "<PubmedArticle><MedlineCitation><Article/></MedlineCitation></PubmedArticle>";
    let xml = set(&format!("{good}{bad}"));
    check_refused(xml.as_bytes(), "the record that begins here has no PMID", xml.rfind("<PubmedArticle>").unwrap());
    for (pmid, words) in [
        ("", "is not a number"),
        ("12a", "is not a number"),
        ("-3", "is not a number"),
        ("0", "is not a number"),
        ("1234567890123", "is not a number"),
    ] {
        let xml = set(&good.replace(">7<", &format!(">{pmid}<")));
        check_refused(xml.as_bytes(), words, xml.find("<PMID").unwrap());
    }
    let twice = set(&good.replace("<Article>", "<PMID>8</PMID><Article>"));
    check_refused(twice.as_bytes(), "a second PMID", twice.find("<PMID>8").unwrap());
}

#[test]
fn hostile_shapes_are_refused_before_they_cost_memory() {
    let deep = set(&record(&format!("<ArticleTitle>{}", "<i>".repeat(10_000)), ""));
    assert!(error(deep.as_bytes()).contains("nested more than 256 deep"));
    let skipped = set(&record(&"<a>".repeat(10_000), ""));
    assert!(error(skipped.as_bytes()).contains("nested more than 256 deep"));
    let long = set(&record(&format!("<ArticleTitle>{}</ArticleTitle>", "x".repeat(17 << 20)), ""));
    assert!(error(&gzip(long.as_bytes())).contains("longer than 16 MiB"));
    let pieces = set(&record(&format!("<ArticleTitle>{}</ArticleTitle>", format!("{}<i/>", "x".repeat(1 << 20)).repeat(17)), ""));
    assert!(error(&gzip(pieces.as_bytes())).contains("longer than 16 MiB"));
    let many = format!("<AbstractText>{}</AbstractText>", "x".repeat(1 << 20)).repeat(65);
    assert!(error(&gzip(set(&record(&format!("<Abstract>{many}</Abstract>"), "")).as_bytes())).contains("more than 64 MiB of text"));
}

#[test]
fn what_is_not_pubmed_is_refused() {
    for (xml, words) in [
        ("", "empty"),
        (" \n ", "no root element"),
        ("plain words", "text outside the root element"),
        ("<html></html>", "not PubmedArticleSet"),
        ("<PubmedArticleSet><Error>x</Error></PubmedArticleSet>", "unknown kind of record"),
        ("<PubmedArticleSet></PubmedArticleSet>x", "text outside"),
        ("<PubmedArticleSet/><PubmedArticleSet/>", "second root"),
        ("<PubmedArticleSet><PubmedArticle></PubmedArticleSet>", "PubmedArticle"),
    ] {
        let message = error(xml.as_bytes());
        assert!(message.contains(words), "{xml}: {message}");
    }
    assert!(read(b"<PubmedArticleSet/>").unwrap().is_empty());
}

#[test]
fn nothing_follows_an_error() {
    let xml = set(&format!("{}<Error/>{}", record("", ""), record("", "")));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(xml.as_bytes()).unwrap();
    let found: Vec<bool> = PubmedReader::open(file.path()).unwrap().map(|d| d.is_ok()).collect();
    assert_eq!(found, [true, false]);
}

#[test]
fn the_real_files_give_the_known_counts() {
    let Some(data) = crate::testing::shared_data("the_real_files_give_the_known_counts") else { return };
    let read = |name: &str| PubmedReader::open(&data.join("pubmed").join(name)).unwrap().collect::<Result<Vec<_>>>().unwrap();
    let every15 = read("pubmed20n0014.every15.xml.gz");
    let with_abstract = every15.iter().filter(|d| !d.abstract_sections.is_empty()).count();
    assert_eq!((every15.len(), with_abstract), (2000, 988));
    assert!(every15.iter().all(|d| d.dates.published.is_some() && !d.language.is_empty() && d.journal.is_some()));
    for name in [
        "biopython_pubmed1.xml",
        "biopython_pubmed2.xml",
        "biopython_pubmed4.xml",
        "pubmed21n1000.xml.gz",
        "pubmed21n1002.xml.gz",
        "pubmed21n1004.xml.gz",
    ] {
        assert!(!read(name).is_empty(), "{name}");
    }
}
