//! Finds where a publisher's copyright notice begins at the end of a text.
//!
//! A notice is known by how it begins (`©`, `Copyright`, `All rights reserved` and so on) and by having nothing in it that notices do not
//! have: years, names in capitals, and the few words of [`WORDS`]. So a list item `(c) admission in 2020` is none, and medical text behind a
//! notice saves both: leaving a notice costs little, losing a conclusion does not.

/// A longer tail is prose that mentions copyright, not a notice.
const MAX_NOTICE: usize = 600;

/// How a notice may begin, in lower case.
const BEGINNINGS: [&str; 16] = [
    "\u{a9}",
    "(c)",
    "copyright",
    "crown copyright",
    "all rights reserved",
    "this article is protected by copyright",
    "psycinfo database record",
    "published by",
    "published under",
    "licensed under",
    "distributed under",
    "this is an open access article",
    "this article is licensed",
    "this work is licensed",
    "this article is a u.s. government work",
    "this article has been contributed to by u",
];

/// The words in small letters that a notice may have, beside [`NOTICE_WORDS`].
const WORDS: &str = " a accepted adaptations all also an and any are article attribution available been behalf by c cc citation cited contributed \
    created creative das de del der derivatives des die distributed distribution do dos du e el employee employees et exclusive for \
    from government has have holder holders im in international is issue its journal la las le les licencee licences licenses \
    licensing los made manuscript material medium modifications nc nd no noderivatives noncommercial of on online open or original \
    other permits permitted properly protected provided public purposes record reprinted reproduction restrictions s see sharealike \
    terms that the their this to und under unported unrestricted use van version von which with without work works y zur ";

/// Words of which every sentence of a notice behind its first has one.
const NOTICE_WORDS: &str = " access ag apa author authors bv co commercial commons company copyright domain editorial elsevier gmbh inc karger kg licence \
    license licensed licensee liss llc llp ltd permission plc press pty published publisher publishers publishing reserved rights sa \
    society springer supplemental supplementary thieme verlag wiley ";

/// `text` without a notice at its end, and without white space there.
pub(super) fn strip(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MAX_NOTICE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = text.get(from..).unwrap_or_default();
    let found = tail.char_indices().filter(|(_, c)| may_begin(*c)).find_map(|(i, c)| {
        let (before, rest) = (text.get(..from + i)?, tail.get(i..)?);
        let within_word = c.is_alphabetic() && before.ends_with(char::is_alphanumeric);
        (!within_word && begins_notice(before, rest)).then_some(before)
    });
    found.unwrap_or(text).trim_end()
}

/// The first characters of [`BEGINNINGS`] and brackets: most of a text is passed over by them alone.
fn may_begin(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), '\u{a9}' | '(' | '[' | 'c' | 'a' | 't' | 'p' | 'l' | 'd')
}

fn begins_notice(before: &str, rest: &str) -> bool {
    // A notice in brackets begins with the bracket.
    let (inner, bracketed) = match rest.strip_prefix(['(', '[']) {
        Some(inner) if !has_prefix(rest, "(c)") => (inner, true),
        _ => (rest, false),
    };
    let Some(beginning) = BEGINNINGS.into_iter().find(|beginning| has_prefix(inner, beginning)) else { return false };
    let body = inner.get(beginning.len()..).unwrap_or_default();
    // "Copyrighted material", "copyrights": not a notice.
    if beginning.ends_with(char::is_alphabetic)
        && body.starts_with(char::is_alphabetic)
        && beginning != "this article has been contributed to by u"
    {
        return false;
    }
    if bracketed && !rest.trim_end_matches(['.', ' ']).ends_with([')', ']']) {
        return false;
    }
    let unmistakable = beginning == "\u{a9}" && names_owner(body) || beginning == "this article is protected by copyright";
    let sentence = bracketed || ends_sentence(before) || unmistakable;
    sentence && names_enough(before, beginning, body) && is_all_notice(inner)
}

fn has_prefix(text: &str, lower: &str) -> bool {
    text.get(..lower.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower))
}

fn ends_sentence(before: &str) -> bool {
    before.trim_end().chars().next_back().is_none_or(|c| matches!(c, '.' | '!' | '?' | ')' | ']' | '"' | '\u{201d}' | '\u{2019}'))
}

/// `© 2020 Elsevier Inc.`: a year and a company. Not "the MoCA © 2004".
fn names_owner(body: &str) -> bool {
    has_year(body) && words(body).any(|word| NOTICE_WORDS.contains(&format!(" {} ", word.to_lowercase())))
}

/// Whether a notice that begins so says what makes it one: a year, an owner, that rights are reserved.
fn names_enough(before: &str, beginning: &str, body: &str) -> bool {
    let lower = body.to_lowercase();
    let reserved = lower.contains("rights reserved") || lower.contains("copyright");
    let named = || words(body).any(|word| word.starts_with(char::is_uppercase));
    match beginning {
        // The third of (a), (b), (c) can name a year too.
        "(c)" => reserved || has_year(body) && named() && !has_item_b(before),
        "\u{a9}" | "copyright" | "crown copyright" => reserved || has_year(body) || named(),
        "psycinfo database record" => reserved || has_year(body),
        "published by" => names_company(body),
        "published under"
        | "licensed under"
        | "distributed under"
        | "this article is licensed"
        | "this work is licensed"
        | "this is an open access article" => ["licen", "cc by", "cc-by", "creative commons"].iter().any(|mark| lower.contains(mark)),
        _ => true,
    }
}

fn names_company(body: &str) -> bool {
    words(body).any(|word| NOTICE_WORDS.contains(&format!(" {} ", word.to_lowercase())) && word.starts_with(char::is_uppercase))
}

fn has_item_b(before: &str) -> bool {
    ["(b)", "(B)"].iter().any(|item| before.contains(item))
}

/// A number from 1900 to 2099 among the first words.
fn has_year(body: &str) -> bool {
    words(body).take(8).any(|word| word.split(['-', '\u{2013}']).any(is_year))
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit()) && (word.starts_with("19") || word.starts_with("20"))
}

/// Whether nothing in `notice` could be anything else.
fn is_all_notice(notice: &str) -> bool {
    let licence = ["licen", "cc by", "cc-by", "creative commons"].iter().any(|mark| notice.to_lowercase().contains(mark));
    let links = |part: &&str| part.contains("://") || part.starts_with("www.") || part.starts_with("creativecommons.org");
    let text = notice.split_whitespace().filter(|part| !links(part)).collect::<Vec<_>>().join(" ");
    let known =
        |word: &str| word.split(['-', '\u{2013}', '\'', '\u{2019}']).filter(|part| !part.is_empty()).all(|part| is_known(part, licence));
    words(&text).all(known) && sentences(&text).skip(1).all(is_about_notice)
}

/// A year, a name in capitals, or a word that notices have.
fn is_known(word: &str, licence: bool) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == word.len() {
        return is_year(word) || licence && digits == 1;
    }
    // Registries' numbers are content: NCT01234567, PMC123.
    if digits > 2 {
        return false;
    }
    let listed = [WORDS, NOTICE_WORDS].iter().any(|list| list.contains(&format!(" {word} ")));
    listed || word.starts_with(char::is_uppercase) || digits > 0 && word.contains(char::is_uppercase)
}

fn is_about_notice(sentence: &str) -> bool {
    words(sentence).next().is_none() || words(sentence).any(|word| NOTICE_WORDS.contains(&format!(" {} ", word.to_lowercase())))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let within = |c: char| c.is_alphanumeric() || matches!(c, '-' | '\u{2013}' | '\'' | '\u{2019}');
    text.split(move |c| !within(c)).filter(|word| word.contains(char::is_alphanumeric))
}

/// Cut behind `. ` before a capital, but not behind an initial (`S. Karger`).
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest.take()?;
        let end = whole.match_indices(". ").find(|(at, _)| {
            let head = whole.get(..*at).unwrap_or_default();
            let initial = head.rsplit([' ', '.']).next().is_some_and(|word| word.chars().count() < 2);
            !initial && whole.get(at + 2..).is_some_and(|tail| tail.starts_with(char::is_uppercase))
        });
        let Some((at, _)) = end else { return Some(whole) };
        let (sentence, tail) = whole.split_at(at + 2);
        rest = Some(tail);
        Some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::strip;

    /// Every shape that NLM's files have, with invented owners; each follows "It works."
    const NOTICES: [&str; 40] = [
        "Copyright 2001 Wiley-Liss, Inc.",
        "\u{a9} 2019 The Authors. Published by Elsevier Ltd. All rights reserved.",
        "Copyright \u{a9} 2019 Elsevier.",
        "(c) 2002 Elsevier Science Ltd.",
        "Copyright (C) 1999 S. Karger AG, Basel",
        "COPYRIGHT The Authors. All rights reserved.",
        "This article is protected by copyright. All rights reserved.",
        "This article is protected by copyright.",
        "All rights reserved.",
        "(PsycInfo Database Record (c) 2021 APA, all rights reserved).",
        "(PsycINFO Database Record (c) 2016 APA, all rights reserved)",
        "PsycINFO Database Record (c) 2010 APA, all rights reserved.",
        "\u{a9} 2020 The Rest Society of Great Britain and Ireland. Published by Bed & Sons, Ltd.",
        "\u{a9} 2021 The Authors. The Journal of Rest published by Bed & Sons, Ltd. on behalf of The Rest Society of Great Britain and Ireland.",
        "\u{a9} 2021 23andRest, Inc. The Journal of Rest published by Bed & Sons, Ltd. on behalf of The Rest Society.",
        "\u{a9} 2021 The Authors. Sleep Disorders published by Bed Periodicals LLC on behalf of International Sleep Society.",
        "\u{a9} REST, 2021 Supplemental material is available for this article. See also the editorial by Pillow in this issue.",
        "\u{a9} The Author(s) 2020. Published by Rest University Press.",
        "\u{a9} The Author(s) 2020. Published by Rest University Press on behalf of the Rest Society. All rights reserved. For permission, Rest Press.",
        "\u{a9} 2019-2020 Rest.",
        "\u{a9} Rest 2017. All rights reserved. No commercial use is permitted.",
        "Copyright 2009 by the Rest Society.",
        "[Copyright 2009 Rest Society.]",
        "(Copyright \u{a9} 2009 Rest Society)",
        "Crown Copyright 2010. Published by Elsevier Ltd. All rights reserved.",
        "Crown Copyright \u{a9} 2010 Rest. All rights reserved.",
        "Published by Elsevier Inc.",
        "Published by Rest Publishing Group.",
        "Copyright \u{a9} 2012 by Rest Verlag GmbH & Co. KG Stuttgart \u{b7} New York.",
        "\u{a9} 2014 Wiley Periodicals, Inc.",
        "\u{a9} 2016 Soci\u{e9}t\u{e9} du Repos. Published by Elsevier Masson SAS. All rights reserved.",
        "Copyright \u{a9} 2013 S. Karger AG, Basel.",
        "\u{a9} 2018 by the authors. Licensee Rest, Basel. This article is an open access article distributed under the terms of the Creative Commons \
         Attribution (CC BY) license (http://creativecommons.org/licenses/by/4.0/).",
        "This is an open access article under the CC BY-NC-ND license (http://creativecommons.org/licenses/by-nc-nd/4.0/).",
        "This is an open access article distributed under the Creative Commons Attribution License, which permits unrestricted use, distribution, and \
         reproduction in any medium, provided the original work is properly cited.",
        "This work is licensed under a Creative Commons Attribution 4.0 International License.",
        "\u{a9} 2015 Rest. This article is a U.S. Government work and is in the public domain in the USA.",
        "\u{a9} 2011 Blackwell Rest Ltd",
        "Copyright: Rest Society, 2013.",
        "\u{a9} Rest. All rights reserved.",
    ];
    /// Notices that a reader can tell and the rule cannot.
    const LEFT: [&str; 2] = ["Georg Rest Verlag KG Stuttgart.", "\u{a9} 2020 Rest Society. Free of charge for members."];

    #[test]
    fn notices_of_every_shape_go_and_what_was_before_stays() {
        let all = ["It works.", "It works (n = 3)", "Is it so?", ""].iter().flat_map(|before| NOTICES.map(|notice| (before, notice)));
        let texts = all.map(|(before, notice)| (before, format!("{before} {notice}")));
        let left: Vec<_> = texts.filter(|(before, text)| strip(text) != **before).collect();
        assert!(left.is_empty(), "{left:#?}");
        for notice in LEFT {
            assert_eq!(strip(&format!("It works. {notice}")), format!("It works. {notice}"));
        }
        assert_eq!(strip("It works.(c) 2002 Elsevier Science Ltd."), "It works.");
        assert_eq!(strip("It works in Q. invented This article is protected by copyright."), "It works in Q. invented");
        assert_eq!(strip("Registered as NCT01234567 \u{a9} 2020 Elsevier Ltd."), "Registered as NCT01234567");
    }

    #[test]
    fn prose_and_whatever_a_notice_stands_before_stays() {
        for text in [
            "Factors were: (a) age; (b) smoking; (c) admission in 2020 (OR 4.7; 95% CI 2.3-9.8); and (d) living alone.",
            "Years: (a) 2001. (b) 2002. (c) 2003 COVID.",
            "Two groups: (A) 12. (B) 13. (C) 14 patients.",
            "We study copyright law of 1998 in hospitals.",
            "Done. Copyrighted forms of 2001 were used.",
            "Done. Copyright is a matter of debate.",
            "Done. Copyright is available for this article.",
            "Angles were measured with the Pillow Plus \u{a9} software of 2004.",
            "The score is the Pillow \u{a9}.",
            "It works. \u{a9} 2020 Elsevier Ltd. The trial was registered in 2019.",
            "It works. \u{a9} 2020 Elsevier Ltd. Trial Registration: ISRCTN123.",
            "It works. All rights reserved. Mortality fell by 12%.",
            "It works. Published by 2020, the guideline was ignored.",
            "Cases published by Pillow and Bed.",
            "It works. Published by Pillow in 1888, the case was virtually the same.",
            "Rest is open access, under a licence.",
            "It works. (c) 12 of 20 patients.",
            "It works (Copyright 2001 Rest) in mice.",
            "It works with poly(I):poly(C).",
            "",
        ] {
            assert_eq!(strip(text), text, "{text}");
        }
    }

    #[test]
    fn a_mention_far_from_the_end_is_prose() {
        let text = format!("Copyright 1998 was the first case. {}", "Another sentence follows here. ".repeat(20));
        assert_eq!(strip(&text), text.trim_end());
    }
}
