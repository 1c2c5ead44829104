method = Channelmanager
notes = Meldt een verkoopkanaal boekingen, kamers en tarieven in het eigen formaat van dat kanaal. Wat van het kanaal zelf komt, wordt niet teruggestuurd.
channel-id = Kanaal
channel-id-help = Het kenmerk of de naam waaronder uw systeem dit kanaal kent. Wijzigingen die het daarmee markeert, worden niet verstuurd.
channel-token = Toegangstoken
channel-token-help = Van het kanaal. Het wordt met elk bericht meegestuurd (Bearer).
channel-properties = Accommodaties
channel-properties-help = Eén per regel: uw nummer, een isgelijkteken, het kenmerk bij het kanaal, bijvoorbeeld 7 = HTL-7. Andere accommodaties worden niet aan het kanaal gemeld.
channel-rooms = Kamers
channel-rooms-help = Op dezelfde manier, bijvoorbeeld 3 = DBL. Andere kamers worden weggelaten. Laat het leeg als het kanaal uw nummers gebruikt.
channel-tasks = Taken die uit dit kanaal importeren
channel-tasks-help = Namen, gescheiden door spaties. Wijzigingen die zo’n taak van uw systeem maakt, worden niet verstuurd.
channel-token-format = Het token bevat spaties of andere tekens die niet kunnen worden verstuurd. Misschien zijn ze meegekopieerd.
channel-line = Regel { $line }: schrijf uw nummer, een isgelijkteken en het kenmerk bij het kanaal, bijvoorbeeld 7 = HTL-7.
channel-line-twice = Regel { $line } heeft een nummer dat al in een eerdere regel staat. Houd een van de twee.
