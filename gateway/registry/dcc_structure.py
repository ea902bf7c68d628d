"""Which elements of a DCC may stand where (schema versions 2.4 to 3.3): a table of our own, and the check against it.

The table was written from reading the published schemas 2.4.0, 3.0.0, 3.1.2, 3.2.1 and 3.3.0 of the DCC and D-SI 1.3,
2.0, 2.1 and 2.2 (Physikalisch-Technische Bundesanstalt); it is the union of the versions and holds none of their text.
It says where an element belongs and whether it may be repeated. It does not ask for facts that Metergate has no use for
(persons, addresses), nor for an order: a certificate that lacks a telephone number is still a certificate.

Notation: `name` once at most, `name+` any number, `name!` needed, `name=kind` with the children of that kind (without
one it has text only), `a|b` at most one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.errors import Mistake
from gateway.registry.dcc_xml import Node

__all__ = ["ROOT", "check_structure"]

ROOT = "dcc:digitalCalibrationCertificate"
MOST_MISTAKES = 20

_CONTEXT = (
    "usedMethods=methods usedSoftware=softwares measuringEquipments=equipments influenceConditions=conditions"
    " measurementMetaData=metadata"
)
_CONTACT = "name=text eMail phone fax link location=location descriptionData=blob"
_CRYPT = "cryptElectronicSeal cryptElectronicSignature cryptElectronicTimeStamp"
_NUMBERS = (
    "noQuantity=rich|charsXMLList|si:real=real|si:list=list_|si:hybrid=hybrid|si:complex=complex"
    "|si:constant=constant|si:realListXMLList=reals|si:complexListXMLList=complexes"
)
_UNIVARIATE = "expandedUnc=expanded|coverageInterval=interval|measurementUncertaintyUnivariate=univariate"
_ROOT = "administrativeData=admin! measurementResults=rings! comment=any document=blob ds:Signature=any+"
_REGION = "ellipsoidalRegion=region|rectangularRegion=region"
_STAMPS = "label quantityTypeQUDT dateTime significantDigit"

_DCC: Mapping[str, str] = {
    "certificate": _ROOT,
    "admin": "dccSoftware=softwares refTypeDefinitions=reftypes coreData=core! items=items! calibrationLaboratory=lab!"
    " respPersons=persons customer=contact statements=statements",
    "softwares": "software=software+",
    "software": "name=text release type description=rich+",
    "reftypes": "refTypeDefinition=reftype+",
    "reftype": "name=text description=rich namespace link release value procedure",
    "core": "countryCodeISO3166_1 usedLangCodeISO639_1+ mandatoryLangCodeISO639_1+ uniqueIdentifier!"
    " identifications=ids receiptDate beginPerformanceDate! endPerformanceDate! performanceLocation issueDate"
    " reportAmendedSubstituted=amended previousReport=hash",
    "amended": "typeOfChange replacedUniqueIdentifier",
    "class": "reference classID link",
    "items": "name=text equipmentClass=class+ description=rich owner=contact manufacturer=contact identifications=ids"
    " item=item+",
    "item": "name=text equipmentClass=class+ description=rich+ descriptionData=blob+ owner=contact"
    " installedSoftwares=softwares manufacturer=contact model identifications=ids itemQuantities=itemquantities"
    " subItems=items",
    "itemquantities": "itemQuantity=primitive+",
    "ids": "identification=identification+",
    "identification": "issuer! value! name=text description=text",
    "lab": f"calibrationLaboratoryCode contact=contact+ {_CRYPT}",
    "persons": "respPerson=person+",
    "person": f"person=contact description=rich role mainSigner {_CRYPT}",
    "statements": "statement=statement+",
    "statement": "name=text description=rich countryCodeISO3166_1+ convention traceable norm+ reference+ link+"
    " declaration=rich valid|validXMLList date period respAuthority=contact conformity|conformityXMLList data=data"
    " nonSIDefinition nonSIUnit location=location refId",
    "rings": f"{_CONTEXT} measurementResult=result+",
    "result": f"name=text description=rich {_CONTEXT} results=resultlist!",
    "resultlist": "result=outcome+",
    "outcome": "name=text description=rich data=data!",
    "methods": "usedMethod=method+",
    "method": "name=text description=rich+ norm+ reference+ link+ usedMethodQuantities=methodquantities",
    "methodquantities": "usedMethodQuantity=primitive+",
    "equipments": "name=text equipmentClass=class+ description=rich owner=contact identifications=ids"
    " measuringEquipment=equipment+",
    "equipment": "name=text equipmentClass=class+ description=rich+ descriptionData=blob+ certificate=hash"
    " manufacturer=contact model identifications=ids measuringEquipmentQuantities=equipmentquantities"
    " installedSoftware=softwares",
    "equipmentquantities": "measuringEquipmentQuantity=primitive+",
    "primitive": f"name=text description=rich {_NUMBERS}",
    "conditions": "influenceCondition=condition+",
    "condition": "name=text description=rich status|state certificate=hash data=data!",
    "data": "text=rich+ formula=formula+ byteData=blob+ xml=any+ quantity=quantity+ list=list+",
    "quantity": f"name=text description=rich {_NUMBERS} relativeUncertainty=relative {_CONTEXT}",
    "relative": "relativeUncertaintyXmlList=reals|relativeUncertaintySingle=real",
    "list": f"name=text description=rich dateTime|dateTimeXMLList list=list+ quantity=quantity+ {_CONTEXT}",
    "metadata": "metaData=statement+",
    "contact": _CONTACT,
    "location": "city+ countryCode+ postCode+ postOfficeBox+ state+ street+ streetNo+ further=rich+"
    " positionCoordinates=coordinates+",
    "coordinates": "positionCoordinateSystem reference declaration=rich positionCoordinate1=real"
    " positionCoordinate2=real positionCoordinate3=real link",
    "hash": "referral=text|reference=text referralID|referenceID procedure value description=rich inValidityRange"
    " traceable linkedReport=hash",
    "text": "content+",
    "rich": "name=text content+ file=blob+ formula=formula+",
    "blob": "name=text description=rich fileName mimeType dataBase64|data",
    "formula": "latex|mathml=any|siunitx",
}

_SI: Mapping[str, str] = {
    "real": f"{_STAMPS} value! unit! {_UNIVARIATE}",
    "inlist": f"{_STAMPS} value! unit {_UNIVARIATE}|measurementUncertaintyUnivaraite=univariate",
    "constant": f"{_STAMPS} value! unit! valueStandardMU|uncertainty distribution",
    "complex": f"{_STAMPS} valueReal valueImag valueMagnitude valuePhase unit unitPhase {_REGION}",
    "univariate": "standardMU=standard|expandedMU=expandedmu|coverageIntervalMU=intervalmu",
    "standard": "valueStandardMU! distribution",
    "expandedmu": "valueExpandedMU! coverageFactor! coverageProbability distribution",
    "intervalmu": "valueStandardMU! intervalMin intervalMax coverageProbability distribution",
    "expanded": "uncertainty! coverageFactor! coverageProbability distribution",
    "interval": "standardUnc! intervalMin intervalMax coverageProbability distribution",
    "region": "covarianceMatrix=matrix coverageFactor coverageProbability distribution",
    "matrix": "column=column+",
    "column": "covariance=covariance+",
    "covariance": "value unit",
    "list_": "label dateTime listUnit listUnivariateUnc=univariatelist listUnitPhase listBivariateUnc=bivariate"
    f" real=inlist+ complex=complex+ realList=reallist+ realListXMLList=reals+ complexList=complexlist+"
    f" complexListXMLList=complexes+ list=list_+ {_REGION}",
    "reallist": "label dateTime listQuantityTypeQUDT listUnit listsignificantDigit"
    " listMeasurementUncertaintyUnivariate=univariatelist|listUnivariateUnc=univariatelist real=inlist+"
    f" {_REGION}",
    "univariatelist": "standardMU=standard|expandedMU=expandedmu|coverageIntervalMU=interval|expandedUnc=expanded"
    "|coverageInterval=interval",
    "bivariate": _REGION,
    "complexlist": "label dateTime listQuantityTypeQUDT listUnit listUnitPhase listBivariateUnc=bivariate"
    f" complex=complex+ {_REGION}",
    "hybrid": "real=real+|complex=complex+|list=list_+|realList=reallist+|realListXMLList=reals+|constant=constant+"
    "|complexList=complexlist+|complexListXMLList=complexes+",
    "reals": "labelXMLList quantityTypeQUDTXMLList valueXMLList! unitXMLList! significantDigitXMLList dateTimeXMLList"
    " expandedUncXMLList=expandeds|coverageIntervalXMLList=intervals"
    "|measurementUncertaintyUnivariateXMLList=univariates measurementUncertaintyMultivariateXMLList=any"
    "|ellipsoidalRegionXMLList=region|rectangularRegionXMLList=region",
    "expandeds": "uncertaintyXMLList! coverageFactorXMLList! coverageProbabilityXMLList distributionXMLList",
    "intervals": "standardUncXMLList! intervalMinXMLList intervalMaxXMLList coverageProbabilityXMLList"
    " distributionXMLList",
    "univariates": "standardMUXMLList=standards|expandedMUXMLList=expandedmus|coverageIntervalMUXMLList=intervalmus",
    "standards": "valueStandardMUXMLList! distributionXMLList",
    "expandedmus": "valueExpandedMUXMLList! coverageFactorXMLList! coverageProbabilityXMLList distributionXMLList",
    "intervalmus": "valueStandardMUXMLList! intervalMinXMLList intervalMaxXMLList coverageProbabilityXMLList"
    " distributionXMLList",
    "complexes": "labelXMLList quantityTypeQUDTXMLList valueRealXMLList valueImagXMLList valueMagnitudeXMLList"
    " valuePhaseXMLList unitXMLList unitPhaseXMLList dateTimeXMLList measurementUncertaintyBivariateXMLList=any"
    " measurementUncertaintyMultivariateXMLList=any",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """A child that may stand in an element; those of one group exclude each other."""

    kind: str
    many: bool
    needed: bool
    group: int


def _table(prefix: str, texts: Mapping[str, str]) -> dict[str, dict[str, _Child]]:
    found: dict[str, dict[str, _Child]] = {}
    for kind, text in texts.items():
        children: dict[str, _Child] = {}
        for group, words in enumerate(text.split()):
            for word in words.split("|"):
                plain = word.rstrip("+!")
                name, _, below = plain.partition("=")
                full = name if ":" in name else f"{prefix}:{name}"
                children[full] = _Child(kind=below, many=word.endswith("+"), needed=word.endswith("!"), group=group)
        found[kind] = children
    return found


_KINDS = _table("dcc", _DCC) | _table("si", _SI)


def check_structure(root: Node, file: str) -> list[Mistake]:
    """Return the elements of a DCC that stand where none belongs, are there twice or are missing, with their lines."""
    found: list[Mistake] = []
    for mistake in _check(root, "certificate", file):
        found.append(mistake)
        if len(found) == MOST_MISTAKES:
            break
    return found


def _check(node: Node, kind: str, file: str) -> Iterator[Mistake]:
    if kind == "any":
        return
    known = _KINDS.get(kind, {})
    seen: dict[int, Node] = {}
    for child in node.children:
        rule = known.get(child.name)
        if rule is None:
            yield Mistake(file=file, line=child.line, key=child.path, message=_belongs(node, known))
            continue
        before = seen.setdefault(rule.group, child)
        if before is not child and not (rule.many and before.name == child.name):
            words = "again" if before.name == child.name else f"beside {before.name}"
            message = f"is here {words}; {before.name} in line {before.line} excludes it"
            yield Mistake(file=file, line=child.line, key=child.path, message=message)
        yield from _check(child, rule.kind, file)
    if known and node.text.strip():
        message = f"has the text {node.text.strip()[:40]!r} where only elements belong"
        yield Mistake(file=file, line=node.line, key=node.path, message=message)
    for name, rule in known.items():
        if rule.needed and node.one(name) is None:
            message = f"{name} is missing; a DCC has one here"
            yield Mistake(file=file, line=node.line, key=node.path, message=message)


def _belongs(parent: Node, known: Mapping[str, _Child]) -> str:
    names = sorted(known)
    if not names:
        return f"does not belong into {parent.name}, which has only text"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"does not belong into {parent.name}; there may be {shown}"
