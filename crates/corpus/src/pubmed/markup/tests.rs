//! What markup becomes, as tables: the markup, and the line that a reader should get.

use crate::document::Document;
use crate::pubmed::PubmedReader;
use std::io::Write;

/// The text of a title with this markup, through the parser.
fn read(markup: &str) -> String {
    let xml = format!(
        "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>7</PMID><Article><ArticleTitle>{markup}</ArticleTitle></Article></MedlineCitation>\
         </PubmedArticle></PubmedArticleSet>"
    );
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(xml.as_bytes()).unwrap();
    let documents: Vec<Document> = PubmedReader::open(file.path()).unwrap().collect::<Result<_, _>>().unwrap();
    documents[0].title.clone()
}

/// `{2+}` stands for a superscript and `<2>` for a subscript.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (short, expected) in cases {
        let xml = short.replace('<', "\u{1}").replace('>', "</sub>").replace('\u{1}', "<sub>").replace('{', "<sup>").replace('}', "</sup>");
        assert_eq!(read(&xml), *expected, "{short}");
    }
}

#[test]
fn powers_keep_their_exponent() {
    check(&[
        ("10{6} cells and 5 \u{d7} 10{-3} mol", "10^6 cells and 5 \u{d7} 10^-3 mol"),
        ("10{\u{2212}8}-10{-5}.", "10^\u{2212}8-10^-5."),
        ("kg/m{2}, I{2} = 36%; cm{-1}.", "kg/m^2, I^2 = 36%; cm^-1."),
        ("2.1 \u{d7} 10{9}/L and 10{9}CFU", "2.1 \u{d7} 10^9/L and 10^9CFU"),
        ("4f{6}5d{1}", "4f^(6)5d^1"),
        ("mg L{-1}h{-1}", "mg L^-1h^-1"),
        ("mg{-1.}kg{- 1} day", "mg^-1.kg^-1 day"),
        ("m{2 }and{ 3} more", "m^2 and ^3 more"),
        ("L{-}{1} and g {-} {1} and h{-} 1", "L^-1 and g ^-1 and h- 1"),
        ("2{n+1}x and 2{n}", "2^(n+1)x and 2^n"),
        ("10{2{3}}", "10^(2^3)"),
        ("m\u{b2} and 10\u{207b}\u{b3}", "m\u{b2} and 10\u{207b}\u{b3}"),
    ]);
}

#[test]
fn what_plain_text_joins_is_joined() {
    check(&[
        ("Ca{2+} and Na{+}/K{+}-ATPase, Mg{2}{+}", "Ca2+ and Na+/K+-ATPase, Mg2+"),
        ("CD4{+} T cells, ApoE{-/-} mice", "CD4+ T cells, ApoE-/- mice"),
        ("the {13}C, [{18}F]FDG, {99m}Tc, {239+240}Pu and \u{3b4}{15}N", "the 13C, [18F]FDG, 99mTc, 239+240Pu and \u{3b4}15N"),
        ("on the 1{st} and 10 {th} day", "on the 1st and 10 th day"),
        ("Credelio{\u{ae}} and Tendril{TM} at 37{o}C", "Credelio\u{ae} and Tendril\u{2122} at 37\u{b0}C"),
        ("H<2>O, Ni<0.7>Co<0.3>(OH)<2>, V<max>, PM<2.5>, A\u{3b2}<1><-><42>", "H2O, Ni0.7Co0.3(OH)2, Vmax, PM2.5, A\u{3b2}1-42"),
        ("A\u{3b2}<1-42>, t<1/2>, T<H>1, T <1>", "A\u{3b2}1-42, t1/2, TH1, T 1"),
        ("NO<3>{-}, SO\u{2084}{-} and [Ag(NH<3>)<2>]{+}", "NO3-, SO\u{2084}- and [Ag(NH3)2]+"),
        ("IRIS{\u{24c7}} Registry", "IRIS\u{24c7} Registry"),
        ("O<2>{\u{2022}}{-}", "O2\u{2022}-"),
    ]);
}

#[test]
fn a_script_never_runs_into_its_neighbour() {
    check(&[
        ("SO<4>{2-} and ]{2+}", "SO4^2- and ]^2+"),
        ("NO<3>{-}-N and Lin{-}Sca-1{+}c", "NO3^(-)-N and Lin^(-)Sca-1^(+)c"),
        ("lines 6<1> and R{2}<365> and TP95<414>", "lines 6_1 and R^2_365 and TP95_414"),
        ("H<2>0<2>", "H_(2)0_2"),
        ("Cu{I} is not CuI; As{III}W<6>O<40>", "Cu^I is not CuI; As^(III)W6O40"),
        ("Fe{2+}<DGT> and E<c>{Eff}", "Fe2+_DGT and Ec^Eff"),
        ("p22{phox}, Cdc42{fl/fl}, {t}Bu, JAK2{V617F} mutation", "p22^phox, Cdc42^(fl/fl), ^(t)Bu, JAK2^V617F mutation"),
        ("[0.1, 0.4]<95% CI>; Q<a b>c", "[0.1, 0.4]_(95% CI); Q_(a b)c"),
        ("V<95%>, C<16:1>, F<2,58>, P<(FDR)>, L{(+)}x", "V95%, C16:1, F_(2,58), P_(FDR), L^(+)x"),
        ("M<-9.8> allows", "M_(-9.8) allows"),
        ("years.{1} Aging; anatomy.{2}{,}{3} We; autophagy{1-3}.", "years.^1 Aging; anatomy.^(2,3) We; autophagy^(1-3)."),
        ("a{} b<> c{ }d", "a b c d"),
    ]);
}

#[test]
fn other_markup_dissolves() {
    for (xml, expected) in [
        ("<i>E. <b>coli</b> </i>grew", "E. coli grew"),
        ("x<sup><i>n</i></sup> and CO<sub><b>2</b></sub>", "x^n and CO2"),
        ("<i>10</i><sup>6</sup>", "10^6"),
        ("bio&#xAD;psy\u{200b} of&#160;5", "biopsy of 5"),
        ("a<DispFormula><math><mi>x</mi></math></DispFormula>b", "a x b"),
    ] {
        assert_eq!(read(xml), expected, "{xml}");
    }
}

/// `mml:` elements in shorthand.
fn math(parts: &str) -> String {
    read(&format!("is <mml:math xmlns:mml=\"http://www.w3.org/1998/Math/MathML\">{parts}</mml:math>."))
}

#[test]
fn formulas_become_one_line_that_reads_as_the_same_formula() {
    for (parts, expected) in [
        ("<mml:msup><mml:mrow><mml:mi>R</mml:mi></mml:mrow> <mml:mrow><mml:mn>2</mml:mn></mml:mrow> </mml:msup>", "R^2"),
        ("<mml:msubsup><mml:mi>T</mml:mi> <mml:mn>2</mml:mn> <mml:mo>\u{2217}</mml:mo></mml:msubsup>", "T2\u{2217}"),
        ("<mml:msubsup><mml:mi>\u{3c3}</mml:mi><mml:mi>CC</mml:mi><mml:mi>ex</mml:mi></mml:msubsup>", "\u{3c3}_CC^ex"),
        (
            "<mml:mrow><mml:msub><mml:mi>T</mml:mi><mml:mn>1</mml:mn></mml:msub><mml:mo>=</mml:mo><mml:mn>33.2</mml:mn><mml:mo>\u{b1}</mml:mo><mml:mn>3.6</mml:mn>\
             <mml:mspace/><mml:mtext>ms</mml:mtext></mml:mrow>",
            "T1=33.2\u{b1}3.6 ms",
        ),
        ("<mml:mfrac><mml:mn>1</mml:mn><mml:mn>2</mml:mn></mml:mfrac>", "1/2"),
        ("<mml:mfrac><mml:mrow><mml:mi>a</mml:mi><mml:mo>+</mml:mo><mml:mi>b</mml:mi></mml:mrow><mml:mi>c</mml:mi></mml:mfrac>", "(a+b)/c"),
        ("<mml:mfrac><mml:mn>1</mml:mn><mml:mn>2</mml:mn></mml:mfrac><mml:mi>x</mml:mi>", "(1/2)x"),
        ("<mml:mn>3</mml:mn><mml:mfrac><mml:mn>1</mml:mn><mml:mn>2</mml:mn></mml:mfrac>", "3(1/2)"),
        ("<mml:mfrac><mml:mfrac><mml:mi>a</mml:mi><mml:mi>b</mml:mi></mml:mfrac><mml:mi>c</mml:mi></mml:mfrac>", "(a/b)/c"),
        ("<mml:mfrac linethickness=\"0\"><mml:mi>n</mml:mi><mml:mi>k</mml:mi></mml:mfrac>", "(n choose k)"),
        ("<mml:msqrt><mml:mi>x</mml:mi><mml:mo>+</mml:mo><mml:mn>1</mml:mn></mml:msqrt>", "\u{221a}(x+1)"),
        ("<mml:msqrt><mml:mn>2</mml:mn></mml:msqrt><mml:mi>y</mml:mi>", "\u{221a}(2)y"),
        ("<mml:mroot><mml:mi>x</mml:mi><mml:mn>3</mml:mn></mml:mroot>", "x^(1/3)"),
        ("<mml:msup><mml:mrow><mml:mi>a</mml:mi><mml:mo>+</mml:mo><mml:mi>b</mml:mi></mml:mrow><mml:mn>2</mml:mn></mml:msup>", "(a+b)^2"),
        ("<mml:msup><mml:mi>e</mml:mi><mml:mrow><mml:mo>-</mml:mo><mml:mi>k</mml:mi><mml:mi>t</mml:mi></mml:mrow></mml:msup>", "e^-kt"),
        ("<mml:msub><mml:mi>x</mml:mi><mml:mi>i</mml:mi></mml:msub><mml:mi>y</mml:mi>", "x_(i)y"),
        ("<mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup><mml:mn>3</mml:mn>", "x^(2)3"),
        (
            "<mml:munderover><mml:mo>\u{2211}</mml:mo><mml:mrow><mml:mi>i</mml:mi><mml:mo>=</mml:mo><mml:mn>1</mml:mn></mml:mrow><mml:mi>n</mml:mi></mml:munderover>",
            "\u{2211}_(i=1)^n",
        ),
        ("<mml:mover><mml:mi>x</mml:mi><mml:mo>\u{af}</mml:mo></mml:mover>", "x\u{304}"),
        ("<mml:mover><mml:mi>x</mml:mi><mml:mi>ab</mml:mi></mml:mover>", "x^ab"),
        ("<mml:munder><mml:mi>s</mml:mi><mml:mo>\u{af}</mml:mo></mml:munder>", "s\u{332}"),
        (
            "<mml:munder><mml:mi>lim</mml:mi><mml:mrow><mml:mi>x</mml:mi><mml:mo>\u{2192}</mml:mo><mml:mn>0</mml:mn></mml:mrow></mml:munder>",
            "lim_(x\u{2192}0)",
        ),
        ("<mml:mfenced><mml:mi>x</mml:mi><mml:mi>y</mml:mi></mml:mfenced>", "(x,y)"),
        ("<mml:mfenced open=\"[\" close=\"]\" separators=\";\"><mml:mi>x</mml:mi><mml:mi>y</mml:mi></mml:mfenced>", "[x;y]"),
        ("<mml:mfenced separators=\"\"><mml:mi>x</mml:mi><mml:mi>y</mml:mi></mml:mfenced>", "(xy)"),
        (
            "<mml:mmultiscripts><mml:mi>C</mml:mi><mml:none/><mml:none/><mml:mprescripts/><mml:none/><mml:mn>13</mml:mn></mml:mmultiscripts>",
            "13C",
        ),
        (
            "<mml:mtable><mml:mtr><mml:mtd><mml:mi>a</mml:mi></mml:mtd><mml:mtd><mml:mi>b</mml:mi></mml:mtd></mml:mtr><mml:mtr><mml:mtd><mml:mn>0</mml:mn></mml:mtd>\
             <mml:mtd><mml:mn>1</mml:mn></mml:mtd></mml:mtr></mml:mtable>",
            "[a, b; 0, 1]",
        ),
        ("<mml:mn>2</mml:mn><mml:mn>3</mml:mn>", "2 3"),
        ("<mml:mi>log</mml:mi><mml:mi>x</mml:mi><mml:mo>\u{2061}</mml:mo><mml:mi>max</mml:mi>", "log x max"),
        (
            "<mml:semantics><mml:mi>y</mml:mi><mml:annotation encoding=\"TeX\">\\y</mml:annotation></mml:semantics><mml:mphantom><mml:mi>z</mml:mi></mml:mphantom>",
            "y",
        ),
    ] {
        assert_eq!(math(parts), format!("is {expected}."), "{parts}");
    }
}

#[test]
fn a_formula_of_any_depth_takes_bounded_time() {
    let deep = |element: &str, depth: usize| {
        format!("{}<mi>x</mi>{}", format!("<{element}><mi>a</mi>").repeat(depth), format!("</{element}>").repeat(depth))
    };
    for element in ["mover", "mfrac", "msup", "munderover", "mmultiscripts", "msqrt", "mfenced", "mtable"] {
        let text = read(&format!("<math>{}</math>", deep(element, 200)));
        assert!(text.starts_with(['a', '\u{221a}', '(', '[', 'x']), "{element}: {text:.80}");
    }
}
