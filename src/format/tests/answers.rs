//! Inputs that show every rule of `csv` and `json`, with what a Flink 2.3 made of them.

use super::*;

fn columns(text: &str) -> Schema {
    let data_type = |name: &str| match name {
        "STRING" => DataType::STRING,
        "INT" => DataType::Int,
        "BIGINT" => DataType::BigInt,
        "SMALLINT" => DataType::SmallInt,
        "TINYINT" => DataType::TinyInt,
        "BOOLEAN" => DataType::Boolean,
        "FLOAT" => DataType::Float,
        "DOUBLE" => DataType::Double,
        "DATE" => DataType::Date,
        "TIME" => DataType::Time(3),
        "TIMESTAMP" => DataType::Timestamp(3),
        "LTZ" => DataType::TimestampLtz(3),
        "BYTES" => DataType::BYTES,
        "DECIMAL" => DataType::Decimal(6, 2),
        other => panic!("{other}"),
    };
    let field = |pair: &str| {
        let (name, kind) = pair.trim().split_once(' ').unwrap();
        Field::new(name, data_type(kind))
    };
    Schema::new(text.split(',').map(field).collect())
}

/// The rows of `input` in a table of `fields`, without names, one a line.
fn rows(fields: &str, pairs: &[(&str, &str)], input: &[u8]) -> String {
    let schema = columns(fields);
    let mut text = decode(pairs, &schema, input);
    for field in schema.fields.iter() {
        text = text.replace(&format!("\"{}\":", field.name), "");
    }
    text
}

const CSV: (&str, &str) = ("format", "csv");
const CSV_IGNORE: (&str, &str) = ("csv.ignore-parse-errors", "true");
const JSON: (&str, &str) = ("format", "json");
const JSON_IGNORE: (&str, &str) = ("json.ignore-parse-errors", "true");

#[test]
fn csv_quotes() {
    let input = "a,b\n a , b \n\"a\"\"b\",c\na\"b,c\n\"a\" ,b\n \"a\",b\n\"\",\n,\n\"a,b\",\"c\nd\"\né,ü\n\ta,b\t\n\"q\" , \"r\" \n  ,\n";
    let expected = r#"{"a","b"}
{" a "," b "}
{"a\"b","c"}
{"a\"b","c"}
{"a","b"}
{" \"a\"","b"}
{"",""}
{"",""}
{"a,b","c\nd"}
{"é","ü"}
{"\ta","b\t"}
{"q"," \"r\" "}
{"  ",""}
"#;
    assert_eq!(rows("k STRING, v STRING", &[CSV], input.as_bytes()), expected);
}

#[test]
fn csv_bad_records_are_skipped() {
    let input = "a,1\n\nb,2\n   \nc,3\n\"d\"x,4\ne,5\nf,6,7\ng\nh,8\ni,10\nj,\"1\"\"1\"\nk,12\r\nl,13\rm,14\nn,\nb,2,\"x\ny\",3\nz,9\no,\"unterminated\np,15\n";
    let expected = r#"{"a",1}
{"",null}
{"b",2}
{"   ",null}
{"c",3}
{"e",5}
{"g",null}
{"h",8}
{"i",10}
{"j",null}
{"k",12}
{"l",13}
{"m",14}
{"n",null}
{"z",9}
skipped 6:4 'x' follows a closing quote
skipped 8:1 the row has 3 fields, the table 2 columns
skipped 16:1 the row has 4 fields, the table 2 columns
skipped 19:3 a quoted field is not closed
"#;
    assert_eq!(rows("k STRING, v INT", &[CSV, CSV_IGNORE], input.as_bytes()), expected);
    let strict = rows("k STRING, v INT", &[CSV], b"a,1\n\nb,2\n");
    assert_eq!(strict, "{\"a\",1}\nfailed 2:1 the row has 1 fields, the table 2 columns\n");
    assert_eq!(
        rows("k STRING", &[CSV], b"a\n\nb\n\"c\"\n \n"),
        "{\"a\"}\n{\"\"}\n{\"b\"}\n{\"c\"}\n{\" \"}\n"
    );
}

#[test]
fn csv_rows_of_other_lengths() {
    let fields = "k STRING, v INT";
    let lenient = |extra: &[(&str, &str)], input: &str| {
        let pairs = [&[CSV, CSV_IGNORE], extra].concat();
        let text = rows(fields, &pairs, input.as_bytes());
        text.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join(" ")
    };
    let input = "a,1,\nb,2,,\nc,3, \n\"d\",4,\"\"\ne,5,\r\n,\n,,\nf,6,g\nh\ni,\n";
    let expected = r#"{"a",1} {"c",3} {"d",4} {"e",5} {"",null} {"",null} {"h",null} {"i",null}"#;
    assert_eq!(lenient(&[], input), expected);
    let refused = [("csv.allow-trailing-comma", "false")];
    assert_eq!(lenient(&refused, input), r#"{"",null} {"h",null} {"i",null}"#);
    let strict = rows(fields, &[CSV], b"a,1,\nb,2\nc,3,\r\nd,4,");
    assert_eq!(strict, "{\"a\",1}\n{\"b\",2}\n{\"c\",3}\n{\"d\",4}\n");
    let unmappable = [("csv.ignore-trailing-unmappable", "true")];
    let input = "a,1,x,y\nb,2\nc\nd,4,\"x\n\",z\ne,5,\"q\"w\nf,6\ng,7,\"unt\n";
    let expected = r#"{"a",1} {"b",2} {"c",null} {"d",4} {"f",6}"#;
    assert_eq!(lenient(&unmappable, input), expected);
    let missing = [("csv.fail-on-missing-columns", "true")];
    assert_eq!(lenient(&missing, "a\nb,2\n\nc,\n"), r#"{"b",2} {"c",null}"#);
    assert_eq!(rows("k STRING", &[CSV], b"a,\nb\n,\n"), "{\"a\"}\n{\"b\"}\n{\"\"}\n");
}

#[test]
fn csv_empty_fields_may_be_null() {
    let fields = "k STRING, v INT";
    let input = ",1\n\"\",2\nb,\nb,\"\"\n ,3\n";
    let expected = "{null,1}\n{null,2}\n{\"b\",null}\n{\"b\",null}\n{\" \",3}\n";
    let empty = ("csv.empty-string-as-null", "true");
    assert_eq!(rows(fields, &[CSV, empty], input.as_bytes()), expected);
    let pairs = [CSV, empty, ("csv.null-literal", "NULL"), ("csv.trim-spaces", "true")];
    let expected = expected.replace("\" \"", "null") + "{null,7}\n{null,8}\n";
    let input = format!("{input}NULL,7\n\"NULL\",8\n");
    assert_eq!(rows(fields, &pairs, input.as_bytes()), expected);
    let literal = [CSV, ("csv.null-literal", "")];
    assert_eq!(rows(fields, &literal, b",1\nb,\n"), "{null,1}\n{\"b\",null}\n");
}

#[test]
fn csv_comments() {
    let pairs = [CSV, ("csv.allow-comments", "true")];
    let input = "#comment,x\na,b\n # not,y\nc,#d\n\"#q\",z\n#\nlast,1\n";
    assert_eq!(
        rows("k STRING, v STRING", &pairs, input.as_bytes()),
        "{\"a\",\"b\"}\n{\"c\",\"#d\"}\n{\"#q\",\"z\"}\n{\"last\",\"1\"}\n"
    );
    let input = "\n#c\n  \t#d,x\n\na,b\n   \n\n\nc,d\n";
    assert_eq!(
        rows("k STRING, v STRING", &pairs, input.as_bytes()),
        "{\"\\t#d\",\"x\"}\n{\"a\",\"b\"}\n{\"c\",\"d\"}\n"
    );
}

#[test]
fn csv_escapes_trimming_and_null() {
    let input =
        "a\\,b,c\n\"a\\\"b\",d\na\\\\b,e\n\\n,\\t\na\\xb,\\é\n\"x\"\"y\",f\nq\\\"r,g\n\\\"h\",i\n";
    let expected = r#"{"a,b","c"}
{"a\"b","d"}
{"a\\b","e"}
{"\n","\t"}
{"axb","é"}
{"x\"y","f"}
{"q\"r","g"}
{"\"h\"","i"}
"#;
    assert_eq!(
        rows("k STRING, v STRING", &[CSV, ("csv.escape-character", "\\")], input.as_bytes()),
        expected
    );
    let input = " \"a\" , \"b\" \n\"a\"  ,  \"b,c\" \n ,\t\"x\"\t\n a , b \n\"  c \" , \" d \"\n";
    let expected = r#"{"a","b"}
{"a","b,c"}
{"","x"}
{"a","b"}
{"  c "," d "}
"#;
    assert_eq!(
        rows("k STRING, v STRING", &[CSV, ("csv.trim-spaces", "true")], input.as_bytes()),
        expected
    );
    let input = "NULL,1\n\"NULL\",2\n NULL,3\nnull,NULL\n,\"NULL\"\n";
    let expected = "{null,1}\n{null,2}\n{\" NULL\",3}\n{\"null\",null}\n{\"\",null}\n";
    assert_eq!(
        rows("k STRING, v INT", &[CSV, ("csv.null-literal", "NULL")], input.as_bytes()),
        expected
    );
    let input = "a,'b,c'\n\"d\",e\n";
    let expected = "{\"a\",\"b,c\"}\n{\"\\\"d\\\"\",\"e\"}\n";
    assert_eq!(
        rows("k STRING, v STRING", &[CSV, ("csv.quote-character", "'")], input.as_bytes()),
        expected
    );
    let input = "a\tb\nc\\d\te\"f\n";
    let expected = "{\"a\",\"b\"}\n{\"c\\\\d\",\"e\\\"f\"}\n";
    assert_eq!(
        rows("k STRING, v STRING", &[CSV, ("csv.field-delimiter", "\\t")], input.as_bytes()),
        expected
    );
    let bom = rows("k STRING, v STRING", &[CSV], "\u{feff}a,b\nc,d\n".as_bytes());
    assert_eq!(bom, "{\"a\",\"b\"}\n{\"c\",\"d\"}\n");
}

#[test]
fn csv_types() {
    let fields = "k STRING,i INT,b BOOLEAN,d DATE,t TIME,ts TIMESTAMP,dec DECIMAL,f DOUBLE,y BYTES,si SMALLINT,ti TINYINT,l BIGINT,fl FLOAT";
    let input = "a,7,true,2024-01-02,12:34:56,2024-01-02 03:04:05.678,1.005,1.5,aGVsbG8=,1,1,1,1.1
b, 8 ,TRUE,2024-1-2,12:34,2024-1-2 3:4:5,1234567.1,1e3,aGVsbG8,1,1,1,1.1
c,+9, true ,2024-02-30,12:34:56.789123,2024-02-30 00:00:00,99999.995,NaN, aGVsbG8= ,300,300,9223372036854775808,1e40
d,7.0,1,2024-13-01,24:00:00,2024-01-01 24:00:00, 1.5 ,1f,!!,+1,-128,-9223372036854775808,NaN
e,0x1f,yes, 2024-01-02, 12:34:56, 2024-01-02 03:04:05 ,1e2,8,,32767,127,1_0,1d
f,2147483648,,20240102,123456,2024-01-02T03:04:05,-1.005,Infinity,aGVs bG8=,-32768,-129, 5 ,.5
g,-2147483648,false,0001-01-01,00:00,0001-01-01 00:00:00,abc,-Infinity,aGVsbG8==,,,,
h,3,tRuE,9999-12-31,12:34:56.,9999-12-31 23:59:59.999999999,+1.5,.5,x,1,1,1,5.
i,1,t,10000-01-01,1:2:3,10000-01-01 00:00:00,1.,5.,x,1,1,1,-0
j,1,t,-2024-01-01,12:34:56Z,1969-12-31 23:59:59.9,.5,1.0e400,x,1,1,1,1e-50
k,1,t,2023-02-29,12:34:56.1,2024-01-01 00:00:00.,1E+2,-0,x,1,1,1,3.4028236e38
l,1,t,2024-01-32,12:34:60,2024-01-01 00:00,1e400000000000,1e-400,x,1,1,1,1e-30
m,1,t,2024-00-01,12:60:00,2024-01-01 00:60:00,0e10,1 ,x,1,1,1,1
n,1,t,2024-01-01,12:30:00,2024-01-01 00:00:00.1234567891,12345.678e-2,00012.50,x,1,1,1,1
o,1,t,2024-01-01,12:30:00,2024-01-01 25:00:00,9999.995,1,x,1,1,1,1
";
    let expected = r#"{"a",7,true,"2024-01-02","12:34:56","2024-01-02 03:04:05.678",1.01,1.5,"aGVsbG8=",1,1,1,1.1}
{"b",8,true,"2024-01-02","12:34:00",null,null,1000.0,null,1,1,1,1.1}
{"c",9,true,"2024-03-01","12:34:56.789","2024-02-29 00:00:00",null,"NaN","aGVsbG8=",300,null,null,"Infinity"}
{"d",null,false,null,null,"2024-01-02 00:00:00",null,1.0,null,1,-128,-9223372036854775808,"NaN"}
{"e",null,false,null,null,"2024-01-02 03:04:05",1E+2,8.0,"",32767,127,null,1.0}
{"f",null,false,null,null,null,-1.01,"Infinity","aGVsbG8=",-32768,null,5,0.5}
{"g",-2147483648,false,"0001-01-01","00:00:00","0001-01-01 00:00:00",null,"-Infinity",null,null,null,null,null}
{"h",3,true,"9999-12-31","12:34:56","9999-12-31 23:59:59.999",1.5,0.5,null,1,1,1,5.0}
{"i",1,false,null,null,null,1,5.0,null,1,1,1,-0.0}
{"j",1,false,null,null,"1969-12-31 23:59:59.9",0.5,"Infinity",null,1,1,1,0.0}
{"k",1,false,"2023-03-01","12:34:56.1","2024-01-01 00:00:00",1E+2,-0.0,null,1,1,1,"Infinity"}
{"l",1,false,null,null,null,null,0.0,null,1,1,1,1.0E-30}
{"m",1,false,null,null,null,0,1.0,null,1,1,1,1.0}
{"n",1,false,"2024-01-01","12:30:00",null,123.46,12.5,null,1,1,1,1.0}
{"o",1,false,"2024-01-01","12:30:00",null,null,1.0,null,1,1,1,1.0}
"#;
    assert_eq!(rows(fields, &[CSV, CSV_IGNORE], input.as_bytes()), expected);
    let ltz = rows(
        "k STRING, v LTZ",
        &[CSV, CSV_IGNORE],
        b"a,2024-01-01 00:00:00Z\nb,2024-01-01 00:00:00\nc,2024-01-01T00:00:00Z\n",
    );
    assert_eq!(ltz, "{\"a\",\"2024-01-01 00:00:00Z\"}\n{\"b\",null}\n{\"c\",null}\n");
}

#[test]
fn json_types() {
    let fields = "n INT,b BOOLEAN,i INT,l BIGINT,d DOUBLE,f FLOAT,s STRING,dt DATE,t TIME,ts TIMESTAMP,ltz LTZ,by BYTES,dec DECIMAL,si SMALLINT,ti TINYINT";
    let input = r#"{"n":1,"b":"TRUE","i":1.9,"l":1e2,"d":"1.5","f":"NaN","s":1.50,"dt":"2024-01-02","t":"12:34:56.789","ts":"2024-01-02 03:04:05.678","ltz":"2024-01-02 03:04:05Z","by":"aGVsbG8=","dec":1.005,"si":7,"ti":7}
{"n":2,"b":1,"i":-1.9,"l":9223372036854775807,"d":1,"f":1,"s":true,"dt":"2024-02-30","t":"12:34:56","ts":"2024-02-30 00:00:00","ltz":"2024-01-02 03:04:05","by":"aGVsbG8","dec":1234567.1,"si":7.5,"ti":128}
{"n":3,"b":"yes","i":"1.9","l":9223372036854775808,"d":"NaN","f":"Infinity","s":{"a" : [1, 2.50, "x\u0041", 1e2, null,true, 12345678901234567890.5, 1.0, 0.00001, "\/", "\u0001\u007f\u20ac"]},"dt":"2024-1-2","t":"24:00:00","ts":"2024-01-01 24:00:00","ltz":"2024-01-02T03:04:05Z","by":"aGVsbG8= ","dec":"1.005","si":"7","ti":"127"}
{"n":4,"b":null,"i":1e2,"l":1.9,"d":"1e3","f":"1f","s":[ ],"dt":"20240102","t":"12:34","ts":"2024-01-01 00:00","ltz":"2024-01-02 03:04:05.678Z","by":"!!","dec":" 1.5 ","si":"+7","ti":-129}
{"n":5,"b":true,"i":3e9,"l":"9223372036854775807","d":8,"f":1e40,"s":"\ud83d\ude00","dt":" 2024-01-02","t":"12:34:56.","ts":"2024-01-01 00:00:00.","ltz":"2024-01-02 03:04:05+01:00","by":1,"dec":true,"si":40000,"ti":"x"}
{"n":6,"b":false,"i":true,"l":1e19,"d":1e400,"f":"1e40","s":"\ud83d","dt":"0000-01-01","t":"1:2:3","ts":"0000-01-01 00:00:00","ltz":"1969-12-31 23:59:59.999Z","by":"aGVs bG8=","dec":"abc","si":"40000","ti":1.0}
{"n":7,"b":"true ","i":"+7","l":" 7 ","d":" 1.5 ","f":" 1.5 ","s":1E+2,"dt":"-0001-01-01","t":"12:34:56.123456789","ts":"2024-01-02 03:04:05.123456789","ltz":"9999-12-31 23:59:59.999Z","by":null,"dec":1e2,"si":"","ti":""}
{"n":8,"b":"","i":"","l":"","d":"","f":"","s":"","dt":"","t":"","ts":"","ltz":"","by":"","dec":"","si":null,"ti":null}
{"n":9,"b":0,"i":2147483648.5,"l":-9223372036854775809,"d":-0.0,"f":-0.0,"s":-0.0,"dt":5,"t":5,"ts":5,"ltz":5,"by":5,"dec":99999.995,"si":-32768,"ti":-128}
{"n":10,"i":2147483647.9,"l":123456789012345678.9,"d":1.7976931348623157e308,"f":3.4028236e38,"s":12345678901234567890123,"dt":"9999-12-31","t":"23:59:59.999999999","ts":"9999-12-31 23:59:59.999","ltz":"2024-01-02 03:04:05.Z","by":"aGVsbG8==","dec":9999.994,"si":1e2,"ti":1e1}
{"n":11,"s":{"a":1,"b":{"c":1.10}},"dec":9999.995,"ts":"10000-01-01 00:00:00","dt":"10000-01-01","by":"aGVsbG9="}
{"n":12,"s":"a	b","dec":-1.005,"ts":"2024-01-02 03:04:05,678","by":"aGVs\nbG8="}
"#;
    let expected = r#"{1,true,1,100,1.5,"NaN","1.50","2024-01-02","12:34:56.789","2024-01-02 03:04:05.678","2024-01-02 03:04:05Z","aGVsbG8=",1.01,7,7}
{2,false,-1,9223372036854775807,1.0,1.0,"true",null,"12:34:56","2024-02-29 00:00:00",null,null,null,null,null}
{3,false,null,null,"NaN","Infinity","{\"a\":[1,2.5,\"xA\",1E+2,null,true,12345678901234567890.5,1,0.00001,\"/\",\"\\u0001€\"]}",null,"00:00:00","2024-01-02 00:00:00",null,"aGVsbG8=",1.01,7,127}
{4,null,100,1,1000.0,1.0,"[]",null,null,null,"2024-01-02 03:04:05.678Z",null,1.5,7,null}
{5,true,null,9223372036854775807,8.0,"Infinity","\uD83D\uDE00",null,"12:34:56","2024-01-01 00:00:00",null,null,null,null,null}
{6,false,null,null,"Infinity","Infinity","?","0000-01-01",null,"0000-01-01 00:00:00","1969-12-31 23:59:59.999Z","aGVsbG8=",null,null,null}
{7,true,7,7,1.5,1.5,"1E+2","-0001-01-01","12:34:56.123","2024-01-02 03:04:05.123","9999-12-31 23:59:59.999Z",null,1E+2,null,null}
{8,false,null,null,null,null,"",null,null,null,null,"",null,null,null}
{9,false,null,null,-0.0,-0.0,"-0.0",null,null,null,null,null,null,-32768,-128}
{10,null,null,123456789012345680,1.7976931348623157E308,"Infinity","12345678901234567890123","9999-12-31","23:59:59.999","9999-12-31 23:59:59.999","2024-01-02 03:04:05Z",null,9999.99,null,null}
{11,null,null,null,null,null,"{\"a\":1,\"b\":{\"c\":1.1}}",null,null,null,null,"aGVsbG8=",null,null,null}
{12,null,null,null,null,null,"a\tb",null,null,null,null,"aGVsbG8=",-1.01,null,null}
"#;
    assert_eq!(
        rows(fields, &[JSON, JSON_IGNORE], input.as_bytes()).replace('\u{7f}', ""),
        expected
    );
}

#[test]
fn json_in_iso_notation() {
    let input = r#"{"n":1,"ts":"2024-01-02T03:04:05","ltz":"2024-01-02T03:04:05Z"}
{"n":2,"ts":"2024-01-02T03:04","ltz":"2024-01-02T03:04Z"}
{"n":3,"ts":"2024-01-02 03:04:05","ltz":"2024-01-02T03:04:05.5Z"}
{"n":4,"ts":"2024-02-30T03:04:05","ltz":"2024-02-30T03:04:05Z"}
{"n":5,"ts":"2024-01-02T24:00:00","ltz":"2024-01-02T24:00:00Z"}
{"n":6,"ts":"2024-01-02t03:04:05","ltz":"2024-01-02t03:04:05z"}
{"n":7,"ts":"2024-01-02T03:04:05Z","ltz":"2024-01-02T03:04:05"}
"#;
    let expected = r#"{1,"2024-01-02 03:04:05","2024-01-02 03:04:05Z"}
{2,"2024-01-02 03:04:00","2024-01-02 03:04:00Z"}
{3,null,"2024-01-02 03:04:05.5Z"}
{4,null,"2024-02-29 03:04:05Z"}
{5,null,"2024-01-03 00:00:00Z"}
{6,"2024-01-02 03:04:05",null}
{7,null,null}
"#;
    let pairs = [JSON, JSON_IGNORE, ("json.timestamp-format.standard", "ISO-8601")];
    assert_eq!(rows("n INT,ts TIMESTAMP,ltz LTZ", &pairs, input.as_bytes()), expected);
}

/// Records of every shape, good and bad.
const RECORDS: &[u8] = b"{\"a\":1,\"s\":\"x\"} trailing
[{\"a\":2,\"s\":\"arr\"},{\"a\":3,\"s\":\"arr2\"}]
\xef\xbb\xbf{\"a\":4,\"s\":\"bom\"}
   {\"a\":5,\"s\":\"lead\"}   
{\"a\":6,\"s\":\"raw\ttab\"}
{\"a\":7,\"s\":\"bad\xffutf\"}
{\"a\":8,\"s\":NaN}
{\"a\":+8,\"s\":\"plus\"}
{\"a\":09,\"s\":\"zero\"}
{'a':10,\"s\":\"single\"}
{\"a\":11,\"s\":\"comma\",}
{\"a\":12 \"s\":\"nocomma\"}
{\"a\":13,\"s\":\"x\"}{\"a\":14,\"s\":\"second\"}
{a:15,\"s\":\"unq\"}
{\"a\":16,\"s\":\"x\"
{\"a\":17,\"s\":\"esc\\q\"}
{\"a\":.5,\"s\":\"dot\"}
{\"a\":19,\"s\":tru}
{\"a\":20,\"s\":truex}
null
5
\"str\"
{}
{\"\\u0061\":21,\"s\":\"esckey\"}
  
{\"a\":22,\"s\":\"ok\",\"z\":{\"q\":[}}
{\"a\":23,\"s\":\"ok\",\"z\":1x}
/* c */ {\"a\":27,\"s\":\"comment\"}
{\"a\":28,\"s\":\"x\",\"z\":}
{\"z\":9,\"z\":8,\"a\":29,\"s\":\"dupunk\"}
[]
[1,{\"a\":30,\"s\":\"y\"}]
{\"a\":\"31\",\"s\":\"cr\"}\r
{\"a\":33,\"s\":1.10}
{\"a\":34,\"s\":-}
{\"a\":35,\"s\":1.}
{\"a\":36,\"s\":1e}
{\"a\":1e0,\"s\":\"e\"}
[{\"a\":1,\"s\":\"x\"},5,{\"a\":2,\"s\":\"y\"}]
[{\"a\":3,\"s\":\"x\"},{\"a\":4]
[null,{\"a\":5}]
 [ {\"a\":6 } , {\"a\":7} ] x
[[{\"a\":8}]]
[{\"a\":9}
[{\"a\":10},]
[{\"a\":\"bad\"}]
{\"a\":11,\"s\":\"z\"}
";

#[test]
fn json_records() {
    let expected = r#"{1,"x"}
{2,"arr"}
{3,"arr2"}
{4,"bom"}
{5,"lead"}
{6,"raw\ttab"}
{13,"x"}
{null,null}
{21,"esckey"}
{29,"dupunk"}
{31,"cr"}
{33,"1.10"}
{1,"e"}
{1,"x"}
{3,"x"}
{6,null}
{7,null}
{9,null}
{10,null}
{null,null}
{11,"z"}
"#;
    let decoded = rows("a INT, s STRING", &[JSON, JSON_IGNORE], RECORDS);
    let (skipped, good): (Vec<&str>, Vec<&str>) =
        decoded.lines().partition(|line| line.starts_with("skipped"));
    assert_eq!(good.join("\n") + "\n", expected);
    assert_eq!(skipped.len(), 31, "{skipped:#?}");
}

#[test]
fn json_texts() {
    let input = r#"{"a":1,"s":"\ud83dx\ude00y"}
{"a":2,"s":"\u0000\u001f"}
{"a":4,"s":{"k\n":"\ud83d\ude00\u00e9/"}}
{"s":[1e5,123e-2,0e0,1E+7,12e3,0.000001,-0.0,1e400,100000000000000000000000,-0]}
"#;
    let expected = r#"{1,"?x?y"}
{2,"\u0000\u001F"}
{4,"{\"k\\n\":\"\uD83D\uDE00é/\"}"}
{null,"[100000.0,1.23,0.0,1.0E7,12000.0,1.0E-6,-0.0,\"Infinity\",100000000000000000000000,0]"}
"#;
    assert_eq!(rows("a INT, s STRING", &[JSON], input.as_bytes()), expected);
    let input = r#"{"a":1.10,"s":{"x":100,"y":100.0,"z":1.500,"w":-0.0,"v":0.00000012,"u":1e400,"t":0.0}}
{"a":1,"s":[1e5,123e-2,0e0,1E+7,12e3,0.000001,-12.50e1]}
"#;
    let expected = r#"{1.1,"{\"x\":100,\"y\":1E+2,\"z\":1.5,\"w\":0,\"v\":1.2E-7,\"u\":1E+400,\"t\":0}"}
{1,"[1E+5,1.23,0,1E+7,1.2E+4,0.000001,-125]"}
"#;
    assert_eq!(rows("a DECIMAL, s STRING", &[JSON], input.as_bytes()), expected);
}

#[test]
fn json_missing_fields() {
    let pairs = [JSON, ("json.fail-on-missing-field", "true")];
    let input = b"{\"a\":null,\"s\":\"x\"}\n{\"a\":1,\"s\":null}\n{\"A\":1,\"s\":3}\n";
    assert_eq!(
        rows("a INT, s STRING", &pairs, input),
        "{null,\"x\"}\n{1,null}\nfailed 3:1 malformed JSON: the field `a` is missing\n"
    );
}

#[test]
fn json_nests_a_thousand_deep() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let input = format!(
        "{{\"a\":1,\"s\":{}}}\n{{\"a\":2,\"z\":{}}}\n{{\"a\":3,\"z\":{}\n",
        nested(900),
        nested(1_200),
        "{\"x\":".repeat(1_000_000)
    );
    let decoded = rows("a INT, s STRING", &[JSON, JSON_IGNORE], input.as_bytes());
    assert!(decoded.starts_with(&format!("{{1,\"{}\"}}\nskipped 2:", nested(900))));
    assert_eq!(decoded.matches("nest more than 1000 deep").count(), 2);
}
