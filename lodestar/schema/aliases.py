"""Names that other people's files give to the contract's columns, event types and tables: the one table of them.

Names are compared by their letters and digits alone: `visitor_id`, `visitorId` and `Visitor ID` are one.
"""

import re

from lodestar.schema import columns as c
from lodestar.schema.events import EventType
from lodestar.schema.tables import EVENTS, ITEMS, RELATIONS, USERS, Table


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_USERS = _words("""
    user uid usr usrid userno usernumber userkey usercode usersid userpseudoid visitor visitorid customer customerid
    custid customerno customernumber client clientid member memberid account accountid accountnumber reviewer
    reviewerid profileid person personid shopper shopperid buyer buyerid subscriberid username login listener
    listenerid viewer viewerid learner learnerid student studentid player playerid reader readerid patientid guestid
    distinctid anonymousid fullvisitorid cookieid householdid
""")
_ITEMS = _words("""
    item iid itemid itemno itemcode itemnumber product productid productcode productno productnumber prodid pid sku
    skuid skucode asin parentasin movie movieid film filmid book bookid isbn isbn13 isbn10 article articleid content
    contentid video videoid photoid song songid track trackid artistid albumid game gameid app appid post postid news
    newsid story storyid course courseid lesson lessonid listing listingid offer offerid ad adid business businessid
    store storeid restaurantid hotelid stockcode goods goodsid material materialid doc docid document documentid
    paperid recipe recipeid place placeid venue venueid poi poiid location locationid show showid anime animeid
    mangaid jokeid beerid wineid question questionid problem problemid exercise exerciseid podcastid episodeid ean
    ean13 gtin upc
""")
_TIMES = _words("""
    timestamp ts time date datetime dt createdat createdon created creationtime eventtimestamp eventdate eventdatetime
    eventts occurredat happenedat unixtime unixtimestamp unixreviewtime reviewtime reviewdate epoch epochtime utc
    utctime timestamputc datetimeutc timeutc eventtimeutc visittime visitedat purchasedate purchasedat purchasetime
    orderdate orderdatetime ordertime orderedat invoicedate transactiondate transactiontime tdat checkintime loggedat
    receivedat eventtimems timems timestampms timestampmillis clienttime servertime requesttime startedat starttime
    playedat listenedat watchedat viewedat clickedat ratedat ratingtime ratingtimestamp saledate soldat submittedat
    postedat publishedat when behaviortime actiontime actiondate actiontimestamp logtime logdate accesstime
    bookingdate day
""")
# By table and column, the names that others use. What is no column of the contract and still describes a user or an item: ATTRIBUTES.
COLUMN_ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    EVENTS.name: {
        c.USER_ID: _USERS,
        c.ITEM_ID: _ITEMS,
        c.EVENT_TYPE: _words("""
            event type action actiontype actionname behavior behaviour behaviortype behaviourtype eventname activity
            activitytype interaction interactiontype verb eventaction eventkind kind feedbacktype
        """),
        c.EVENT_TIME: _TIMES,
        c.RATING: _words("stars star rate score overall bookrating userrating starrating ratingscore ratingvalue grade"),
        c.SESSION_ID: _words("session sid sessid sessionkey sessionno visitid usersession"),
        c.QUERY_TEXT: _words("query searchterm searchquery keyword keywords searchtext searchphrase searchstring q"),
        c.TARGET_USER_ID: _words("target targetuser targetid followee followeeid followedid friendid touser touserid"),
        c.VALUE: _words("revenue amount total price eventvalue orderamount totalprice paid"),
        c.CURRENCY: _words("currencycode"),
        c.DWELL_S: _words("dwellseconds dwelltimes durationseconds durations watchseconds playseconds secondsplayed"),
        c.POSITION: _words("rank pos slot listposition"),
        c.DEVICE: _words("devicetype platform devicecategory"),
        c.EVENT_ID: _words("eventuuid eventuid eventkey uuid"),
    },
    ITEMS.name: {
        c.ITEM_ID: (*_ITEMS, "id", "code", "number"),
        c.TITLE: _words("""
            name productname producttitle itemname itemtitle movietitle movie moviename filmtitle booktitle bookname
            articletitle prodname songname songtitle trackname tracktitle gamename gametitle appname videotitle
            coursename coursetitle headline label heading displayname businessname storename placename animename
            listingname
        """),
        c.CATEGORY_PATH: _words("""
            category categories categoryname categoryid productcategory producttype producttypename maincategory
            itemcategory genre genres categorycode department departmentname section sectionname topic topics subject
            subjects breadcrumb breadcrumbs taxonomy class classname classification
        """),
        c.TAGS: _words("tag tagnames keywords labels"),
        c.CREATOR_ID: _words("""
            creator author authors bookauthor artist artistname seller sellerid director publisher channel channelname
            instructor uploader
        """),
        c.PRICE: _words("unitprice listprice retailprice saleprice cost msrp priceeur priceusd baseprice"),
        c.CURRENCY: _words("currencycode pricecurrency"),
        c.STOCK: _words("stocklevel inventory quantityinstock unitsinstock qty"),
        c.DESCRIPTION: _words("desc summary abstract plot overview synopsis longdescription detaildesc about"),
        c.LANGUAGE: _words("lang languagecode locale"),
        c.DURATION_S: _words("durationseconds lengthseconds durationsec"),
        c.CREATED_AT: _words("""
            created createdon published publishedat publicationdate publishdate publicationyear yearofpublication
            released releasedate releasedat releaseyear dateadded addedat year launchdate
        """),
        c.UPDATED_AT: _words("updated updatedon modified modifiedat lastmodified lastupdated"),
        c.IS_ACTIVE: _words("active enabled isavailable available isopen"),
        c.AGE_RATING: _words("certification mpaarating pegi fsk"),
    },
    USERS.name: {
        c.USER_ID: (*_USERS, "id"),
        c.CREATED_AT: _words("""
            created createdon signupdate signedupat signuptime registered registeredat registrationdate
            registrationtime joined joinedat joindate membersince yelpingsince since
        """),
        c.UPDATED_AT: _words("updated updatedon modified modifiedat lastmodified lastupdated"),
        c.COUNTRY: _words("countrycode countryname nation"),
        c.LANGUAGE: _words("lang languagecode locale preferredlanguage"),
        c.BIRTH_YEAR: _words("yearofbirth yob birthyr"),
        c.SEGMENTS: _words("segment customersegment tier clubmemberstatus"),
        c.INTERESTS: _words("interest preferredgenres likedcategories"),
    },
    RELATIONS.name: {
        c.SRC_ID: _words("src source sourceid fromid fromuser followerid follower userid user"),
        c.DST_ID: _words("dst destination targetid target toid touser followeeid followee friendid friend"),
        c.KIND: _words("relation relationtype type"),
    },
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    ITEMS.name: _words("""
        brand brandname manufacturer colour color colourgroupname size material style format producer model gender
        country city studio vendor binding edition numpages
    """),
    USERS.name: _words("gender sex age agegroup occupation profession job city state region zip zipcode postalcode location"),
}
# What other people's event types mean, by their letters and digits alone.
EVENT_TYPE_ALIASES: dict[str, EventType] = {
    word: kind
    for kind, words in {
        EventType.VIEW: "pv pageview pageviews viewitem itemview productview viewproduct detail details visit impressionclick viewed views",
        EventType.CLICK: "clicked clicks clk selectitem tap",
        EventType.ADD_TO_CART: "cart carts addtocart addcart basket addtobasket tobasket addtobag carted",
        EventType.PURCHASE: """
            buy buys bought purchased purchases transaction transactions order orders ordered sale sales sold checkout payment paid
            conversion invoice
        """,
        EventType.LIKE: "fav favorite favourite favorites favourites wishlist addtowishlist bookmark liked likes upvote thumbsup collect",
        EventType.RATING: "rate rated rates review reviewed reviews stars ratings",
        EventType.PLAY: "listen listened listens watch watched stream streamed plays played",
        EventType.HIDE: "dislike disliked downvote thumbsdown notinterested hidden",
        EventType.SEARCH: "searched searches query",
        EventType.SHARE: "shared shares forward repost retweet",
        EventType.COMMENT: "commented comments reply",
        EventType.FOLLOW: "follows followed subscribe",
        EventType.ENROL: "enroll enrolled enroled enrolment enrollment",
        EventType.COMPLETE: "completed finish finished",
    }.items()
    for word in words.split()
}
# Words in the names of files, singular, by what they hold.
TABLE_ALIASES: dict[str, tuple[str, ...]] = {
    EVENTS.name: _words("""
        event interaction log rating review click view purchase order transaction behavior behaviour play listen
        session history action activity feedback clickstream sale visit checkin invoice train
    """),
    ITEMS.name: _words("""
        item product movie film book article game song track video course catalog catalogue business meta metadata
        listing offer anime recipe news app place venue good
    """),
    USERS.name: _words("user customer member client visitor account profile people person reviewer learner student"),
}
# Columns that order a user's events where there are no times.
ORDER_ALIASES = _words("""
    position ordernumber order seq sequence sequencenumber seqno step index idx rank row rownumber addtocartorder
    clickorder eventorder visitnumber timestep eventindex orderno
""")
_FIELD_TYPE = re.compile(r":(token|float|token_seq|float_seq)$")  # names of some exchange formats say their type


def plain_name(name: str) -> str:
    """A name by its letters and digits alone, in lower case."""
    return "".join(character for character in _FIELD_TYPE.sub("", name).casefold() if character.isalnum())


def names_of(table: Table, column: str) -> tuple[str, ...]:
    """What a column of a table may be called, by letters and digits alone: its own name first."""
    return (plain_name(column), *COLUMN_ALIASES.get(table.name, {}).get(column, ()))


def event_type_of(value: str) -> EventType | None:
    """The event type that a value is known to mean: one of ours in another spelling, or a usual word for it; None for any other."""
    plain = plain_name(value)
    own = {plain_name(kind): kind for kind in EventType}
    return own.get(plain) or EVENT_TYPE_ALIASES.get(plain)


def near_event_type(text: str) -> EventType | None:
    """The event type that a text or some of its words mean, such as a purchase of `purchase_completed`; None where there is none."""
    words = [word for word in re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()) if word]
    parts = [
        "".join(words[start:end])
        for length in range(len(words), 0, -1)
        for start in range(len(words))
        if (end := start + length) <= len(words)
    ]
    return event_type_of(text) or next((kind for part in parts if (kind := event_type_of(part))), None)
