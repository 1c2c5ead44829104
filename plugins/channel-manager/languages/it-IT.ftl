method = Channel manager
notes = Comunica a un canale di vendita prenotazioni, camere e tariffe nel formato del canale stesso. Ciò che viene dal canale non gli viene rimandato.
channel-id = Canale
channel-id-help = L’identificativo o il nome con cui il vostro sistema conosce questo canale. Le modifiche che contrassegna così non vengono inviate.
channel-token = Token di accesso
channel-token-help = Fornito dal canale. Viene inviato con ogni messaggio (Bearer).
channel-properties = Strutture
channel-properties-help = Una per riga: il vostro numero, un segno di uguale, l’identificativo presso il canale, per esempio 7 = HTL-7. Le altre strutture non vengono comunicate al canale.
channel-rooms = Camere
channel-rooms-help = Allo stesso modo, per esempio 3 = DBL. Le altre camere vengono omesse. Lasciate vuoto se il canale usa i vostri numeri.
channel-tasks = Attività che importano da questo canale
channel-tasks-help = Nomi separati da spazi. Le modifiche fatte da una di queste attività del vostro sistema non vengono inviate.
channel-token-format = Il token contiene spazi o altri caratteri che non possono essere inviati. Forse sono stati copiati insieme al resto.
channel-line = Riga { $line }: scrivete il vostro numero, un segno di uguale e l’identificativo presso il canale, per esempio 7 = HTL-7.
channel-line-twice = La riga { $line } ha un numero che si trova già in una riga precedente. Tenete una delle due.
