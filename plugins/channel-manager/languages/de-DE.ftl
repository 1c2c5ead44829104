method = Channel-Manager
notes = Meldet einem Vertriebskanal Buchungen, Zimmer und Preise in dessen eigenem Format. Was vom Kanal selbst kam, wird ihm nicht zurückgesendet.
channel-id = Kanal
channel-id-help = Die Kennung oder der Name, unter dem Ihr System diesen Kanal kennt. Änderungen, die es damit kennzeichnet, werden nicht gesendet.
channel-token = Zugriffstoken
channel-token-help = Vom Kanal. Es wird mit jeder Meldung gesendet (Bearer).
channel-properties = Objekte
channel-properties-help = Eines je Zeile: Ihre Nummer, ein Gleichheitszeichen, die Kennung beim Kanal, zum Beispiel 7 = HTL-7. Andere Objekte werden dem Kanal nicht gemeldet.
channel-rooms = Zimmer
channel-rooms-help = Ebenso, zum Beispiel 3 = DBL. Andere Zimmer werden weggelassen. Lassen Sie das Feld leer, wenn der Kanal Ihre Nummern verwendet.
channel-tasks = Aufgaben, die aus diesem Kanal importieren
channel-tasks-help = Namen, durch Leerzeichen getrennt. Änderungen, die eine solche Aufgabe Ihres Systems vornimmt, werden nicht gesendet.
channel-token-format = Das Token enthält Leerzeichen oder andere Zeichen, die nicht gesendet werden können. Vielleicht wurden sie mitkopiert.
channel-line = Zeile { $line }: Schreiben Sie Ihre Nummer, ein Gleichheitszeichen und die Kennung beim Kanal, zum Beispiel 7 = HTL-7.
channel-line-twice = Zeile { $line } hat eine Nummer, die schon in einer früheren Zeile steht. Behalten Sie eine der beiden.
