"""A practice's country (ISO 3166-1) and time zone (IANA), and its calendar days.

The zones come from the pinned package ``tzdata`` and not from the machine, so that all nodes agree on every day. A day
runs from midnight to midnight of the practice's clock: 23 or 25 hours when daylight saving time starts or ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

# Countries with one zone, as in ``zone.tab`` of tzdata.
_ONE_ZONE = """
AD Europe/Andorra, AE Asia/Dubai, AF Asia/Kabul, AG America/Antigua, AI America/Anguilla, AL Europe/Tirane,
AM Asia/Yerevan, AO Africa/Luanda, AS Pacific/Pago_Pago, AT Europe/Vienna, AW America/Aruba, AX Europe/Mariehamn,
AZ Asia/Baku, BA Europe/Sarajevo, BB America/Barbados, BD Asia/Dhaka, BE Europe/Brussels, BF Africa/Ouagadougou,
BG Europe/Sofia, BH Asia/Bahrain, BI Africa/Bujumbura, BJ Africa/Porto-Novo, BL America/St_Barthelemy,
BM Atlantic/Bermuda, BN Asia/Brunei, BO America/La_Paz, BQ America/Kralendijk, BS America/Nassau, BT Asia/Thimphu,
BV UTC, BW Africa/Gaborone, BY Europe/Minsk, BZ America/Belize, CC Indian/Cocos, CF Africa/Bangui,
CG Africa/Brazzaville, CH Europe/Zurich, CI Africa/Abidjan, CK Pacific/Rarotonga, CM Africa/Douala,
CO America/Bogota, CR America/Costa_Rica, CU America/Havana, CV Atlantic/Cape_Verde, CW America/Curacao,
CX Indian/Christmas, CZ Europe/Prague, DJ Africa/Djibouti, DK Europe/Copenhagen, DM America/Dominica,
DO America/Santo_Domingo, DZ Africa/Algiers, EE Europe/Tallinn, EG Africa/Cairo, EH Africa/El_Aaiun,
ER Africa/Asmara, ET Africa/Addis_Ababa, FI Europe/Helsinki, FJ Pacific/Fiji, FK Atlantic/Stanley, FO Atlantic/Faroe,
FR Europe/Paris, GA Africa/Libreville, GB Europe/London, GD America/Grenada, GE Asia/Tbilisi, GF America/Cayenne,
GG Europe/Guernsey, GH Africa/Accra, GI Europe/Gibraltar, GM Africa/Banjul, GN Africa/Conakry, GP America/Guadeloupe,
GQ Africa/Malabo, GR Europe/Athens, GS Atlantic/South_Georgia, GT America/Guatemala, GU Pacific/Guam,
GW Africa/Bissau, GY America/Guyana, HK Asia/Hong_Kong, HM UTC, HN America/Tegucigalpa, HR Europe/Zagreb,
HT America/Port-au-Prince, HU Europe/Budapest, IE Europe/Dublin, IL Asia/Jerusalem, IM Europe/Isle_of_Man,
IN Asia/Kolkata, IO Indian/Chagos, IQ Asia/Baghdad, IR Asia/Tehran, IS Atlantic/Reykjavik, IT Europe/Rome,
JE Europe/Jersey, JM America/Jamaica, JO Asia/Amman, JP Asia/Tokyo, KE Africa/Nairobi, KG Asia/Bishkek,
KH Asia/Phnom_Penh, KM Indian/Comoro, KN America/St_Kitts, KP Asia/Pyongyang, KR Asia/Seoul, KW Asia/Kuwait,
KY America/Cayman, LA Asia/Vientiane, LB Asia/Beirut, LC America/St_Lucia, LI Europe/Vaduz, LK Asia/Colombo,
LR Africa/Monrovia, LS Africa/Maseru, LT Europe/Vilnius, LU Europe/Luxembourg, LV Europe/Riga, LY Africa/Tripoli,
MA Africa/Casablanca, MC Europe/Monaco, MD Europe/Chisinau, ME Europe/Podgorica, MF America/Marigot,
MG Indian/Antananarivo, MK Europe/Skopje, ML Africa/Bamako, MM Asia/Yangon, MO Asia/Macau, MP Pacific/Saipan,
MQ America/Martinique, MR Africa/Nouakchott, MS America/Montserrat, MT Europe/Malta, MU Indian/Mauritius,
MV Indian/Maldives, MW Africa/Blantyre, MZ Africa/Maputo, NA Africa/Windhoek, NC Pacific/Noumea, NE Africa/Niamey,
NF Pacific/Norfolk, NG Africa/Lagos, NI America/Managua, NL Europe/Amsterdam, NO Europe/Oslo, NP Asia/Kathmandu,
NR Pacific/Nauru, NU Pacific/Niue, OM Asia/Muscat, PA America/Panama, PE America/Lima, PH Asia/Manila,
PK Asia/Karachi, PL Europe/Warsaw, PM America/Miquelon, PN Pacific/Pitcairn, PR America/Puerto_Rico,
PW Pacific/Palau, PY America/Asuncion, QA Asia/Qatar, RE Indian/Reunion, RO Europe/Bucharest, RS Europe/Belgrade,
RW Africa/Kigali, SA Asia/Riyadh, SB Pacific/Guadalcanal, SC Indian/Mahe, SD Africa/Khartoum, SE Europe/Stockholm,
SG Asia/Singapore, SH Atlantic/St_Helena, SI Europe/Ljubljana, SJ Arctic/Longyearbyen, SK Europe/Bratislava,
SL Africa/Freetown, SM Europe/San_Marino, SN Africa/Dakar, SO Africa/Mogadishu, SR America/Paramaribo,
SS Africa/Juba, ST Africa/Sao_Tome, SV America/El_Salvador, SX America/Lower_Princes, SY Asia/Damascus,
SZ Africa/Mbabane, TC America/Grand_Turk, TD Africa/Ndjamena, TF Indian/Kerguelen, TG Africa/Lome, TH Asia/Bangkok,
TJ Asia/Dushanbe, TK Pacific/Fakaofo, TL Asia/Dili, TM Asia/Ashgabat, TN Africa/Tunis, TO Pacific/Tongatapu,
TR Europe/Istanbul, TT America/Port_of_Spain, TV Pacific/Funafuti, TW Asia/Taipei, TZ Africa/Dar_es_Salaam,
UG Africa/Kampala, UY America/Montevideo, VA Europe/Vatican, VC America/St_Vincent, VE America/Caracas,
VG America/Tortola, VI America/St_Thomas, VN Asia/Ho_Chi_Minh, VU Pacific/Efate, WF Pacific/Wallis, WS Pacific/Apia,
YE Asia/Aden, YT Indian/Mayotte, ZA Africa/Johannesburg, ZM Africa/Lusaka, ZW Africa/Harare
"""
# Countries with several zones: the zone of the capital or of most people.
_MAIN_ZONE = """
AQ Antarctica/McMurdo, AR America/Argentina/Buenos_Aires, AU Australia/Sydney, BR America/Sao_Paulo,
CA America/Toronto, CD Africa/Kinshasa, CL America/Santiago, CN Asia/Shanghai, CY Asia/Nicosia, DE Europe/Berlin,
EC America/Guayaquil, ES Europe/Madrid, FM Pacific/Pohnpei, GL America/Nuuk, ID Asia/Jakarta, KI Pacific/Tarawa,
KZ Asia/Almaty, MH Pacific/Majuro, MN Asia/Ulaanbaatar, MX America/Mexico_City, MY Asia/Kuala_Lumpur,
NZ Pacific/Auckland, PF Pacific/Tahiti, PG Pacific/Port_Moresby, PS Asia/Hebron, PT Europe/Lisbon, RU Europe/Moscow,
UA Europe/Kyiv, UM Pacific/Wake, US America/New_York, UZ Asia/Tashkent
"""
TIME_ZONE_OF: dict[str, str] = {
    pair[:2]: pair[3:] for table in (_ONE_ZONE, _MAIN_ZONE) for pair in table.replace("\n", " ").strip().split(", ")
}
COUNTRIES = frozenset(TIME_ZONE_OF)
# Currencies of several countries. The code of any other currency starts with the code of its country.
_SHARED_CURRENCIES = {
    "EUR": "UTC",
    "USD": "UTC",
    "XPF": "UTC",
    "XCG": "America/Curacao",
    "XOF": "Africa/Abidjan",
    "XAF": "Africa/Douala",
    "XCD": "America/Port_of_Spain",
}
_NO_PLACES = frozenset({"Factory"})  # a name in the database that is no time zone


@dataclass(frozen=True, slots=True)
class Locality:
    """A practice's country, if known, and its time zone."""

    country: str | None
    time_zone: str

    @property
    def zone(self) -> ZoneInfo:
        """The rules of the zone."""
        return zone_of(self.time_zone)


def locality(currency: str, country: str | None = None, time_zone: str | None = None) -> Locality:
    """The given values, with defaults for the others: the country of the currency, the zone of the country."""
    shared = _SHARED_CURRENCIES.get(currency)
    if country is None and shared is None and currency[:2] in COUNTRIES:
        country = currency[:2]
    return Locality(country, time_zone or (TIME_ZONE_OF[country] if country else shared or "UTC"))


@cache
def time_zones() -> frozenset[str]:
    """The names of all IANA time zones."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split()) - _NO_PLACES


@cache
def zone_of(time_zone: str) -> ZoneInfo:
    """The rules of a zone. UTC for a name that this version does not know; a newer version may have written it."""
    known = time_zone if time_zone in time_zones() else "UTC"
    with resources.files("tzdata").joinpath("zoneinfo", *known.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=known)


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    """The calendar day of a time."""
    return moment.astimezone(zone).date()


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The start of a day, in UTC. If the clocks skip midnight, it is the time of the change."""
    midnight = datetime.combine(day, time(), zone)
    found = midnight.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return found
    # The wall clock skips this midnight, so find the change between its two readings.
    early = midnight.replace(fold=1).astimezone(UTC)
    seconds = range(int((found - early).total_seconds()) + 1)
    first = bisect_right(seconds, False, key=lambda s: day_of(early + timedelta(seconds=s), zone) >= day)
    return early + timedelta(seconds=first)


def bounds_of(first: date | None, last: date | None, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """From the start of one day to the end of another, exclusive. None means no bound on that side."""
    since = until = None
    with suppress(OverflowError):  # the first and the last day of the calendar are no bounds
        since = start_of(first, zone) if first else None
    with suppress(OverflowError):
        until = start_of(last + timedelta(days=1), zone) if last else None
    return since, until


def starts_of(days: Sequence[date], zone: ZoneInfo) -> list[datetime]:
    """The start of each of several consecutive days, and the end of the last one."""
    return [start_of(day, zone) for day in (*days, days[-1] + timedelta(days=1))]


def zone_label(local: datetime) -> str:
    """The usual abbreviation of a zone (WAT, EAT, CET), or its offset from UTC if it has none."""
    name = local.tzname() or "UTC"
    if name[:1] not in "+-":
        return name
    minutes = int((local.utcoffset() or timedelta()).total_seconds()) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"UTC{sign}{minutes // 60}" + (f":{minutes % 60:02d}" if minutes % 60 else "")
